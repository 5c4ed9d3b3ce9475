//! Contact cards: vCard 3.0 (RFC 2426), made of fields or taken as it is.

use serde::Deserialize;
use utoipa::ToSchema;
use wharf_core::engine::ContactCard;
use wharf_core::ids::{ChatId, ChatKind};

use super::LABEL_CHARS_MAX;
use crate::validate::Fields;

/// The most characters of a card; with a picture in it, a card is some ten thousand.
const VCARD_CHARS_MAX: usize = 262_144;
/// How a card begins and ends.
const BEGIN: &str = "BEGIN:VCARD";
const END: &str = "END:VCARD";

/// A contact: a card as it is, or what one is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contact {
    /// The card itself, vCard 3.0; without it, `fullName` and `phoneNumber` are needed.
    vcard: Option<String>,
    /// The name.
    #[schema(example = "John Doe")]
    full_name: Option<String>,
    /// Where the person works.
    #[schema(example = "Company Name")]
    organization: Option<String>,
    /// The phone number, as people write it.
    #[schema(example = "+91 11111 11111")]
    phone_number: Option<String>,
    /// The number under which the person is on WhatsApp; `phoneNumber` where it is not given.
    #[schema(example = "911111111111")]
    whatsapp_id: Option<String>,
}

impl Contact {
    /// Notes what is wrong with a contact.
    pub(super) fn check(fields: &mut Fields<'_>) {
        if fields.get("vcard").is_some() {
            fields.required_text("vcard", VCARD_CHARS_MAX);
            let is_card = |card: &str| starts_with(card, BEGIN) && ends_with(card, END) && name(card).is_some();
            let card = fields.get("vcard").and_then(|card| card.as_str());
            if card.is_some_and(|card| !is_card(card.trim())) {
                fields.fail(
                    "vcard",
                    "must begin with BEGIN:VCARD, end with END:VCARD, and have a name: FN",
                );
            }
            return;
        }
        fields.required_text("fullName", LABEL_CHARS_MAX);
        fields.required_text("phoneNumber", LABEL_CHARS_MAX);
        fields.text("organization", LABEL_CHARS_MAX);
        fields.string("whatsappId");
        let id = fields.get("whatsappId").and_then(|id| id.as_str());
        if id.is_some_and(|id| !id.is_empty() && phone(id).is_none()) {
            fields.fail(
                "whatsappId",
                "must be a phone number with its country code, digits only",
            );
        }
    }

    /// The card.
    pub(super) fn card(self) -> ContactCard {
        if let Some(vcard) = self.vcard {
            return ContactCard {
                name: name(&vcard).unwrap_or_default(),
                vcard,
            };
        }
        let full_name = self.full_name.unwrap_or_default();
        let number = self.phone_number.unwrap_or_default();
        let id = self.whatsapp_id.as_deref().and_then(phone).or_else(|| phone(&number));
        let mut lines = vec![BEGIN.to_owned(), "VERSION:3.0".to_owned()];
        lines.push(format!("FN:{}", escaped(&full_name)));
        if let Some(organization) = self.organization.filter(|name| !name.is_empty()) {
            lines.push(format!("ORG:{};", escaped(&organization)));
        }
        let id = id.map(|id| format!(";waid={id}")).unwrap_or_default();
        lines.push(format!("TEL;type=CELL;type=VOICE{id}:{}", escaped(&number)));
        lines.push(END.to_owned());
        ContactCard {
            name: full_name,
            vcard: lines.join("\n"),
        }
    }
}

/// The digits of a phone number.
fn phone(text: &str) -> Option<String> {
    let chat: ChatId = text.parse().ok()?;
    (chat.kind() == ChatKind::Phone).then(|| chat.user().to_owned())
}

/// A text as a value: what it has must not end the line or the value.
fn escaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => value.extend(['\\', c]),
            '\n' => value.push_str("\\n"),
            c if c.is_control() => {}
            c => value.push(c),
        }
    }
    value
}

fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(c) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    text
}

/// The name on a card: its `FN`, which may have a group before it and parameters behind it.
fn name(card: &str) -> Option<String> {
    // A line that begins with a space goes on with the one before.
    let card = card.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "");
    let found = card.lines().find_map(|line| {
        let (property, value) = line.split_once(':')?;
        let property = property.split(';').next()?;
        let property = property.rsplit('.').next()?;
        property
            .trim()
            .eq_ignore_ascii_case("FN")
            .then(|| unescaped(value.trim()))
    });
    found.filter(|name| !name.is_empty())
}

fn starts_with(text: &str, beginning: &str) -> bool {
    text.get(..beginning.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(beginning))
}

fn ends_with(text: &str, end: &str) -> bool {
    let from = text.len().checked_sub(end.len());
    from.and_then(|from| text.get(from..))
        .is_some_and(|found| found.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::problems;
    use serde_json::{Value, json};

    fn card(contact: Value) -> ContactCard {
        assert_eq!(problems(&contact, Contact::check), Vec::<String>::new(), "{contact}");
        serde_json::from_value::<Contact>(contact).unwrap().card()
    }

    #[test]
    fn a_card_is_made_of_fields() {
        let made = card(json!({
            "fullName": "John Doe", "organization": "Company Name", "phoneNumber": "+1 202-555-0101", "whatsappId": "12025550101",
        }));
        assert_eq!(made.name, "John Doe");
        assert_eq!(
            made.vcard,
            "BEGIN:VCARD\nVERSION:3.0\nFN:John Doe\nORG:Company Name;\n\
             TEL;type=CELL;type=VOICE;waid=12025550101:+1 202-555-0101\nEND:VCARD"
        );
    }

    #[test]
    fn the_number_is_the_whatsapp_id_where_none_is_given() {
        let made = card(json!({"fullName": "J", "phoneNumber": "+1 202-555-0101", "email": "ignored", "vcard": null}));
        assert!(
            made.vcard.contains("waid=12025550101:+1 202-555-0101"),
            "{}",
            made.vcard
        );
        let short = card(json!({"fullName": "J", "phoneNumber": "ask at the desk"}));
        assert!(short.vcard.contains("type=VOICE:ask at the desk"), "{}", short.vcard);
    }

    #[test]
    fn nothing_in_a_field_gets_out_of_it() {
        let name = "Doe; John, \\ \nTEL:1\r";
        let made = card(json!({"fullName": name, "phoneNumber": "1"}));
        assert_eq!(made.vcard.lines().count(), 5, "{}", made.vcard);
        assert_eq!(super::name(&made.vcard).unwrap(), name.trim_end_matches('\r'));
    }

    #[test]
    fn a_card_is_taken_as_it_is_and_named_by_it() {
        for (vcard, name) in [
            ("BEGIN:VCARD\nVERSION:3.0\nFN:Jane Doe\nEND:VCARD", "Jane Doe"),
            (
                "begin:vcard\r\nitem1.FN;CHARSET=UTF-8:Jane\r\n  Doe\r\nend:vcard\r\n",
                "Jane Doe",
            ),
        ] {
            let taken = card(json!({ "vcard": vcard }));
            assert_eq!((taken.vcard.as_str(), taken.name.as_str()), (vcard, name));
        }
    }

    #[test]
    fn what_is_no_card_is_refused() {
        for contact in [
            json!({}),
            json!({"vcard": ""}),
            json!({"vcard": 5}),
            json!({"vcard": "Jane"}),
            json!({"vcard": "BEGIN:VCARD\nVERSION:3.0\nEND:VCARD"}),
            json!({"vcard": "BEGIN:VCARD"}),
            json!({"fullName": "J"}),
            json!({"phoneNumber": "1"}),
            json!({"fullName": "J", "phoneNumber": "1", "whatsappId": "1@g.us"}),
            json!({"fullName": "J", "phoneNumber": "1", "organization": 5}),
        ] {
            assert_ne!(problems(&contact, Contact::check), Vec::<String>::new(), "{contact}");
        }
    }
}
