//! Places and contact cards.

use buffa::MessageField;
use waproto::whatsapp as wa;
use wharf_core::engine::ContactCard;

/// A place on the map.
pub(super) fn location(latitude: f64, longitude: f64, title: Option<&str>) -> wa::Message {
    wa::Message {
        location_message: MessageField::some(wa::message::LocationMessage {
            degrees_latitude: Some(latitude),
            degrees_longitude: Some(longitude),
            name: title.map(str::to_owned),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Contact cards: one is shown as itself, several as a pile (Baileys `messages.ts`).
pub(super) fn contacts(cards: &[ContactCard]) -> wa::Message {
    if let [card] = cards {
        return wa::Message {
            contact_message: MessageField::some(contact(card)),
            ..Default::default()
        };
    }
    wa::Message {
        contacts_array_message: MessageField::some(wa::message::ContactsArrayMessage {
            display_name: Some(format!("{} contacts", cards.len())),
            contacts: cards.iter().map(contact).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn contact(card: &ContactCard) -> wa::message::ContactMessage {
    wa::message::ContactMessage {
        display_name: Some(card.name.clone()),
        vcard: Some(card.vcard.clone()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str) -> ContactCard {
        ContactCard {
            name: name.to_owned(),
            vcard: format!("BEGIN:VCARD\nVERSION:3.0\nFN:{name}\nEND:VCARD"),
        }
    }

    #[test]
    fn one_card_is_a_contact_and_several_are_a_pile() {
        let one = contacts(&[card("Bob")]);
        let bob = one.contact_message.as_option().unwrap();
        assert_eq!(bob.display_name.as_deref(), Some("Bob"));
        assert!(bob.vcard.as_deref().unwrap().contains("FN:Bob"));

        let two = contacts(&[card("Bob"), card("Carol")]);
        assert!(two.contact_message.is_unset());
        let pile = two.contacts_array_message.as_option().unwrap();
        assert_eq!(pile.display_name.as_deref(), Some("2 contacts"));
        let names: Vec<_> = pile
            .contacts
            .iter()
            .filter_map(|card| card.display_name.as_deref())
            .collect();
        assert_eq!(names, ["Bob", "Carol"]);
    }

    #[test]
    fn a_place_has_a_name_where_one_is_given() {
        let message = location(38.895, -77.036, Some("The Mall"));
        let place = message.location_message.as_option().unwrap();
        assert_eq!(
            (place.degrees_latitude, place.degrees_longitude),
            (Some(38.895), Some(-77.036))
        );
        assert_eq!(place.name.as_deref(), Some("The Mall"));
        let message = location(0.0, 0.0, None);
        assert_eq!(message.location_message.as_option().unwrap().name, None);
    }
}
