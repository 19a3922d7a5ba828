//! The whole join held against its definition.
//!
//! Deploys arrive one after the other, in any order and some twice, while batches are joined. Each
//! event must have what the plainest reading of the tables gives it: all entries looked through,
//! nothing sorted, nothing remembered.

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest,
};
use runtime::metrics::Metrics;
use schemas::{BatchBuilder, Deploy, DeployAction, Event, EventTime, event_at};

use super::{JoinOptions, Joiner};
use crate::context::{Context, ContextCell};
use crate::deploys::{Deploys, Served, tests::by_force};
use crate::identities::{ApiKey, Identities, Identity, PrincipalKind};
use crate::metrics::EnrichMetrics;

/// Everything that is true at one time.
#[derive(Debug, Clone, Default)]
struct World {
    deploys: Vec<Deploy>,
    people: Vec<Identity>,
    keys: Vec<ApiKey>,
}

/// What the join is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
struct Answer {
    service: Option<String>,
    deploy_id: Option<String>,
    deployed_at: Option<EventTime>,
    deploy_age_s: Option<i64>,
    previous_deploy_id: Option<String>,
    commit: Option<String>,
    owner: Option<String>,
    principal_kind: Option<String>,
    principal_active: Option<bool>,
    tenant: Option<String>,
    roles: Option<Vec<String>>,
    credential_owner: Option<String>,
    context_missing: Option<Vec<String>>,
}

impl Answer {
    fn of(event: &Event<'_>) -> Self {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let list = |list: &Option<Vec<std::borrow::Cow<'_, str>>>| {
            list.as_ref().map(|list| list.iter().map(ToString::to_string).collect())
        };
        Self {
            service: text(&event.service),
            deploy_id: text(&event.deploy_id),
            deployed_at: event.deployed_at,
            deploy_age_s: event.deploy_age_s,
            previous_deploy_id: text(&event.previous_deploy_id),
            commit: text(&event.commit),
            owner: text(&event.owner),
            principal_kind: text(&event.principal_kind),
            principal_active: event.principal_active,
            tenant: text(&event.tenant),
            roles: list(&event.roles),
            credential_owner: text(&event.credential_owner),
            context_missing: list(&event.context_missing),
        }
    }
}

impl World {
    /// What an event must have, which has nothing yet but what the log says.
    fn answer(&self, event: &Event<'_>) -> Answer {
        let mut answer = Answer::of(event);
        let mut missing = Vec::new();
        let services: Vec<&str> = self.deploys.iter().map(|d| d.service.as_str()).collect();
        if let Some(sole) = services.first().filter(|sole| services.iter().all(|s| s == *sole)) {
            answer.service.get_or_insert_with(|| (*sole).to_owned());
        }
        if !self.deploys.is_empty() && !self.tell_deploy(event, &mut answer) {
            missing.push("deploy".to_owned());
        }
        if !self.tell_caller(event, &mut answer) {
            missing.push("identity".to_owned());
        }
        answer.context_missing = (!missing.is_empty()).then_some(missing);
        answer
    }

    fn tell_deploy(&self, event: &Event<'_>, answer: &mut Answer) -> bool {
        let (Some(service), Some(time)) = (answer.service.clone(), event.event_time) else {
            return false;
        };
        let whole = self.whole();
        let served = Served {
            service: &service,
            environment: event.environment.as_deref(),
            version: event.service_version.as_deref(),
            deploy_id: event.deploy_id.as_deref(),
            event_time: time,
        };
        let Some((id, at, previous)) = by_force(&whole, &served) else { return false };
        // Copies of one id differ in none of these but by leaving them out.
        let live = whole.iter().filter(|d| d.action != DeployAction::Removed);
        let mut of_id = live.filter(|d| d.service == service && d.deploy_id == id);
        let entry = of_id.find(|d| {
            let agrees = |one: &str| d.environment.as_deref().is_none_or(|other| one == other);
            d.deployed_at == at && event.environment.as_deref().is_none_or(agrees)
        });
        answer.commit = entry.and_then(|d| d.commit.clone());
        answer.owner = answer.owner.take().or_else(|| entry.and_then(|d| d.owner.clone()));
        answer.deploy_id = Some(id.clone());
        answer.deployed_at = Some(at);
        answer.previous_deploy_id = previous;
        answer.deploy_age_s = Some((time.0 - at.0).max(0) / 1000);
        true
    }

    /// The deploys, each with what its copies leave out.
    fn whole(&self) -> Vec<Deploy> {
        let live = |d: &Deploy| matches!(d.action, DeployAction::Deployed | DeployAction::Upgraded);
        let whole = |deploy: &Deploy| {
            let copies = || {
                self.deploys.iter().filter(|d| {
                    d.service == deploy.service
                        && d.environment == deploy.environment
                        && d.deploy_id == deploy.deploy_id
                        && (d.action == deploy.action || live(d) && live(deploy))
                })
            };
            Deploy {
                version: copies().find_map(|d| d.version.clone()),
                commit: copies().find_map(|d| d.commit.clone()),
                owner: copies().find_map(|d| d.owner.clone()),
                ..deploy.clone()
            }
        };
        self.deploys.iter().map(whole).collect()
    }

    /// The kind, whether active, and the line that holds.
    fn person(
        &self,
        name: &str,
        time: EventTime,
    ) -> Option<(PrincipalKind, bool, Option<&Identity>)> {
        let from = |line: &Identity| line.from.unwrap_or(EventTime::MIN);
        let lines = || self.people.iter().filter(|line| line.principal == name);
        let begun = || lines().filter(|line| from(line) <= time);
        let holds = |line: &&Identity| time < line.until.unwrap_or(EventTime::MAX);
        // `max_by_key` gives the last of several.
        if let Some(line) = begun().filter(holds).max_by_key(|line| from(line)) {
            return Some((line.kind, line.active.unwrap_or(true), Some(line)));
        }
        let first = lines().map(from).min();
        let near = begun()
            .max_by_key(|line| from(line))
            .or_else(|| lines().find(|line| Some(from(line)) == first))?;
        Some((near.kind, false, None))
    }

    /// Whether everything that could be looked up was found.
    fn tell_caller(&self, event: &Event<'_>, answer: &mut Answer) -> bool {
        let time = event.event_time.unwrap_or(EventTime::MIN);
        let token = event.token_id.as_deref();
        let key = self.keys.iter().rfind(|key| Some(key.key_hash.as_str()) == token);
        if let Some(key) = key {
            answer.credential_owner = Some(key.owner.clone());
            answer.tenant = answer.tenant.take().or_else(|| key.tenant.clone());
        }
        let unknown = (PrincipalKind::Unknown, None, None);
        let of = |(kind, active, line)| (kind, Some(active), line);
        let (caller, found) = match (event.principal.as_deref(), key) {
            (Some(name), _) => {
                let person = self.person(name, time);
                (person.map_or(unknown, of), person.is_some() || self.people.is_empty())
            }
            (None, Some(key))
                if key.created.is_some_and(|created| time < created)
                    || key.expires.is_some_and(|expires| expires <= time) =>
            {
                ((PrincipalKind::Unknown, Some(false), None), true)
            }
            (None, Some(key)) => (self.person(&key.owner, time).map_or(unknown, of), true),
            (None, None) => {
                let none = event.auth_kind.as_deref() == Some("none");
                let kind = if none { PrincipalKind::Anonymous } else { PrincipalKind::Unknown };
                let looked_up = event.auth_kind.as_deref() == Some("api_key") && token.is_some();
                ((kind, None, None), !looked_up || self.keys.is_empty())
            }
        };
        let (kind, active, line) = caller;
        answer.principal_kind = Some(format!("{kind:?}").to_lowercase());
        answer.principal_active = active;
        if let Some(line) = line {
            answer.tenant = answer.tenant.take().or_else(|| line.tenant.clone());
            answer.roles = answer.roles.take().or_else(|| line.roles.clone());
        }
        found || (self.people.is_empty() && self.keys.is_empty())
    }
}

const ENVIRONMENTS: [Option<&str>; 3] = [None, Some("prod"), Some("staging")];
const NAMES: [&str; 4] = ["ann", "bob", "sync", "eve"];

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// A deploy; two of one id differ only in time, environment, action and what they leave out.
fn deploy() -> impl Strategy<Value = Deploy> {
    let place = (0..5_u8, 0..40_i64, 0..3_usize, 0..2_usize);
    (place, 0..8_u8, any::<[bool; 3]>()).prop_map(
        |((id, time, environment, service), action, says)| {
            let says = |place: usize, text: String| says[place].then_some(text);
            // No two of different environments or kinds at one time, where either could be the later.
            let apart = i64::try_from(environment).unwrap() + 10 * i64::from(action == 1);
            Deploy {
                service: ["shop", "cart"][service].to_owned(),
                environment: owned(ENVIRONMENTS[environment]),
                deploy_id: format!("d{id}"),
                deployed_at: EventTime(time * 500 + apart),
                version: if id < 3 { says(0, format!("v{}", id % 2)) } else { None },
                commit: says(1, format!("c{id}")),
                change_id: None,
                repository: None,
                pipeline_run: None,
                owner: says(2, format!("team-{id}")),
                action: match action {
                    0 => DeployAction::Removed,
                    1 => DeployAction::Rolledback,
                    2 => DeployAction::Upgraded,
                    _ => DeployAction::Deployed,
                },
            }
        },
    )
}

fn span() -> impl Strategy<Value = (Option<EventTime>, Option<EventTime>)> {
    let from = prop_oneof![2 => Just(None), 3 => (0..40_i64).prop_map(Some)];
    let until = prop_oneof![2 => Just(None), 3 => (1..20_i64).prop_map(Some)];
    (from, until).prop_map(|(from, lasts)| {
        let until = lasts.map(|lasts| EventTime((from.unwrap_or(0) + lasts) * 500));
        (from.map(|from| EventTime(from * 500)), until)
    })
}

fn identity() -> impl Strategy<Value = Identity> {
    let says = (0..3_usize, 0..2_u8, any::<Option<bool>>(), 0..3_u8, 0..3_u8);
    (says, span()).prop_map(|((name, kind, active, tenant, roles), (from, until))| Identity {
        principal: NAMES[name].to_owned(),
        kind: if kind == 0 { PrincipalKind::Human } else { PrincipalKind::Service },
        tenant: (tenant > 0).then(|| format!("t{tenant}")),
        roles: (roles > 0).then(|| vec!["r".to_owned(); usize::from(roles) - 1]),
        scopes: None,
        active,
        from,
        until,
    })
}

fn api_key() -> impl Strategy<Value = ApiKey> {
    (0..3_u8, 0..4_usize, 0..2_u8, span()).prop_map(|(hash, owner, tenant, (created, expires))| {
        ApiKey {
            key_hash: format!("k{hash}"),
            owner: NAMES[owner].to_owned(),
            tenant: (tenant > 0).then(|| "tk".to_owned()),
            plan: None,
            created,
            expires,
        }
    })
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let served = (0..4_usize, 0..4_usize, 0..3_usize, 0..8_u8, -1..45_i64, 0..500_i64);
    let caller = (0..6_usize, 0..6_u8, 0..4_usize, 0..6_u8);
    (served, caller).prop_map(|((service, environment, version, id, time, ms), caller)| {
        let (name, token, auth, says) = caller;
        let environment =
            ENVIRONMENTS.get(environment).copied().unwrap_or(Some("dev")).map(Into::into);
        Event {
            service: [None, Some("shop"), Some("cart"), Some("other")][service].map(Into::into),
            environment,
            service_version: [None, Some("v0"), Some("v1")][version].map(Into::into),
            deploy_id: (id < 2).then(|| format!("d{}", id * 4).into()),
            event_time: Some(EventTime(time * 500 + ms)),
            principal: NAMES.get(name).map(|name| (*name).into()),
            token_id: (token < 4).then(|| format!("k{token}").into()),
            auth_kind: Some(["none", "api_key", "jwt", "unknown"][auth].into()),
            owner: (says == 0).then(|| "log".into()),
            tenant: (says == 1).then(|| "log".into()),
            roles: (says == 2).then(Vec::new),
            ..Event::default()
        }
    })
}

/// Deploys, some of which come before the next batch.
fn steps() -> impl Strategy<Value = Vec<(Vec<Deploy>, Vec<Event<'static>>)>> {
    let deploys = prop::collection::vec(deploy(), 0..6);
    prop::collection::vec((deploys, prop::collection::vec(event(), 1..20)), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_event_of_every_batch_has_what_the_definition_gives_it(
        filed in prop::collection::vec(deploy(), 0..5),
        people in prop::collection::vec(identity(), 0..8),
        keys in prop::collection::vec(api_key(), 0..4),
        steps in steps(),
    ) {
        let mut world = World { deploys: filed.clone(), people, keys };
        let context = Context::default()
            .with_deploys(Deploys::new(filed))
            .with_identities(Identities::new(&world.people, &world.keys));
        let cell = ContextCell::new(context);
        let options = JoinOptions { object_key: [0; 16], learn_routes: false };
        let joiner = Joiner::new(cell.clone(), options, EnrichMetrics::new(&Metrics::new()));
        for (arrived, events) in steps {
            cell.add_deploys(arrived.clone(), None);
            // The same delivery once more, and the first that ever came.
            cell.add_deploys(arrived.iter().chain(world.deploys.first()).cloned().collect(), None);
            world.deploys.extend(arrived);
            let mut builder = BatchBuilder::default();
            events.iter().for_each(|event| builder.push(event));
            let joined = joiner.enrich(&builder.finish().unwrap()).unwrap();
            for (row, event) in events.iter().enumerate() {
                let found = Answer::of(&event_at(&joined, row));
                prop_assert_eq!(found, world.answer(event), "{:?} in {:#?}", event, world);
            }
        }
    }
}
