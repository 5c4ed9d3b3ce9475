//! Endpoints on a real store.

use wharf_core::lookup::SystemLookup;
use wharf_core::store::Storage;
use wharf_storage::sqlite::{LocalConfig, LocalStorage};

use super::*;
use crate::egress::AllowList;
use crate::sessions::WebhookEvents;

struct Played {
    endpoints: Endpoints,
    storage: LocalStorage,
    _folder: tempfile::TempDir,
}

impl Played {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(LocalConfig::new(folder.path(), "test"))
            .await
            .unwrap();
        Self {
            endpoints: opened(&storage).await,
            storage,
            _folder: folder,
        }
    }

    async fn set(&self, webhooks: &[Webhook], set_by: SetBy) {
        let mut change = self.endpoints.change(&session(), webhooks, set_by).await.unwrap();
        let batch = change.take_batch();
        if !batch.is_empty() {
            self.storage.server().write(batch).await.unwrap();
        }
        self.endpoints.apply(change);
    }

    fn all(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.of(&session()).to_vec()
    }
}

async fn opened(storage: &LocalStorage) -> Endpoints {
    let global = webhook("http://global/");
    Endpoints::open(storage.server(), Some(global)).await.unwrap()
}

fn session() -> SessionName {
    "a".parse().unwrap()
}

fn webhook(url: &str) -> Webhook {
    Webhook {
        url: url.to_owned(),
        events: WebhookEvents::only(vec![EventName::Message]),
        hmac: None,
        retries: None,
        custom_headers: None,
        insecure: None,
    }
}

fn gone() -> Disabled {
    Disabled {
        at: Timestamp::UNIX_EPOCH,
        why: "gone".to_owned(),
    }
}

#[tokio::test]
async fn what_stays_just_so_keeps_its_id_and_who_set_it() {
    let played = Played::new().await;
    let (first, mut second) = (webhook("http://one/"), webhook("http://one/"));
    played.set(&[first.clone(), second.clone()], SetBy::Admin).await;
    let ids: Vec<_> = (0..2)
        .map(|nth| EndpointId::of(&session(), "http://one/", nth))
        .collect();
    let set_by = |endpoints: &Endpoints| {
        assert_eq!(endpoints.of(&session()).len(), 3);
        ids.iter()
            .map(|id| endpoints.get(id).unwrap().set_by)
            .collect::<Vec<_>>()
    };
    assert_eq!(set_by(&played.endpoints), [SetBy::Admin, SetBy::Admin]);
    second.insecure = Some(false);
    let webhooks = [first, second];
    played.set(&webhooks, SetBy::Session).await;
    assert_eq!(set_by(&played.endpoints), [SetBy::Admin, SetBy::Session]);
    // An administrator who sends back what he read does not vouch for what somebody else has set.
    played.set(&webhooks, SetBy::Admin).await;
    for endpoints in [&played.endpoints, &opened(&played.storage).await] {
        assert_eq!(set_by(endpoints), [SetBy::Admin, SetBy::Session]);
    }
    played.storage.close().await;
}

#[tokio::test]
async fn what_is_configured_no_more_is_still_known_until_its_session_is_forgotten() {
    let played = Played::new().await;
    played.set(&[webhook("http://one/")], SetBy::Admin).await;
    let id = played.all()[0].id.clone();
    played.set(&[webhook("http://two/")], SetBy::Admin).await;
    for endpoints in [&played.endpoints, &opened(&played.storage).await] {
        assert!(!endpoints.of(&session()).iter().any(|endpoint| endpoint.id == id));
        assert_eq!(endpoints.get(&id).unwrap().webhook.url, "http://one/");
        assert_eq!(endpoints.known_of(&session()).len(), 3);
    }
    let two = played.all()[0].id.clone();
    played.endpoints.let_go(&two).await.unwrap();
    assert!(played.endpoints.get(&two).is_some(), "it is configured");
    assert_eq!(played.endpoints.left(), [(id.clone(), false)]);
    let other = opened(&played.storage).await;
    other.let_go(&id).await.unwrap();
    assert!(other.get(&id).is_none() && opened(&played.storage).await.get(&id).is_none());
    let remove = Endpoints::remove(Batch::new(), &session());
    played.storage.server().write(remove).await.unwrap();
    played.endpoints.forget(&session());
    assert!(played.endpoints.get(&id).is_none());
    assert!(opened(&played.storage).await.get(&id).is_none());
    played.storage.close().await;
}

#[tokio::test]
async fn what_is_disabled_stays_so_over_a_restart_until_it_is_set_anew() {
    let played = Played::new().await;
    played.set(&[webhook("http://one/")], SetBy::Admin).await;
    let [own, global] = &played.all()[..] else {
        panic!("one of its own and one of all")
    };
    played.endpoints.disable(own, gone()).await.unwrap();
    played.endpoints.disable(global, gone()).await.unwrap();
    assert_eq!(played.endpoints.disabled(), 2);
    assert!(played.all().iter().all(|endpoint| endpoint.disabled.is_some()));
    // Also where nobody has asked for the session's endpoints before.
    let again = opened(&played.storage).await;
    again.enable(&again.get(&own.id).unwrap()).await.unwrap();
    assert_eq!(again.of(&session()).len(), 2);
    again.disable(&again.get(&own.id).unwrap(), gone()).await.unwrap();
    // What the environment sets begins anew with each start.
    let again = opened(&played.storage).await;
    assert_eq!(again.of(&session())[0].disabled, Some(gone()));
    assert_eq!(again.of(&session())[1].disabled, None);
    played.set(&[webhook("http://one/")], SetBy::Admin).await;
    assert_eq!(played.all()[0].disabled, None);
    assert_eq!(opened(&played.storage).await.of(&session())[0].disabled, None);
    // Another session's change does not help the webhook of all.
    assert_eq!(played.all()[1].disabled, Some(gone()));
    // What was set anew meanwhile is not disabled by what was under way.
    played.endpoints.disable(own, gone()).await.unwrap();
    assert_eq!(played.all()[0].disabled, None);
    played.storage.close().await;
}

#[tokio::test]
async fn a_tenant_may_not_set_what_leads_into_the_own_network() {
    let played = Played::new().await;
    let egress = Egress::new(AllowList::default(), None, Arc::new(SystemLookup)).unwrap();
    let inside = webhook("http://10.0.0.1/");
    played.set(std::slice::from_ref(&inside), SetBy::Admin).await;
    let objections = |webhooks: &[Webhook], set_by| {
        let session = session();
        played.endpoints.objections(Some(&session), webhooks, set_by, &egress)
    };
    let mut unverified = webhook("https://example.com/");
    unverified.insecure = Some(true);
    let all = [inside, webhook("http://10.0.0.2/"), unverified];
    assert!(objections(&all, SetBy::Admin).is_empty());
    let found = objections(&all, SetBy::Session);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("config.webhooks.1.url must name a public address"),
        "{found:?}"
    );
    assert!(found[1].starts_with("config.webhooks.2.insecure"), "{found:?}");
    played.storage.close().await;
}
