//! Whether the clients of an input are who they seem.
//!
//! Owns: the suspicion that all traffic comes from one's own proxy. Never: changes an event.

use std::fmt;

use crate::address;

/// Events by which an input is judged.
const EVENTS: u32 = 1000;
/// How many of them one address must have sent.
const EVENTS_OF_ONE_MIN: u32 = 800;

/// What an input's settings seem to lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Nearly all requests come from one private address, which will be a proxy. To block such a
    /// client would be to block everybody.
    OneProxy {
        /// That address.
        address: String,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::OneProxy { address } = self;
        write!(
            out,
            "nearly all requests come from {address}, which looks like a proxy of yours; put it \
             into `trusted_proxies` and log X-Forwarded-For, or clients cannot be told apart"
        )
    }
}

/// Watches the clients of an input whose settings name no proxy.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    first: String,
    of_first: u32,
    events: u32,
    advice: Option<Advice>,
}

impl Watch {
    pub(crate) fn advice(&self) -> Option<&Advice> {
        self.advice.as_ref()
    }

    /// Sees the client of an event.
    pub(crate) fn see(&mut self, client: Option<&str>) {
        if self.events == 0 {
            self.first.clear();
            self.first.push_str(client.unwrap_or(""));
        }
        self.events += 1;
        self.of_first += u32::from(client == Some(&self.first));
        if self.events == EVENTS {
            let one = self.of_first >= EVENTS_OF_ONE_MIN;
            let private = self.first.parse().is_ok_and(address::is_private);
            self.advice =
                (one && private).then(|| Advice::OneProxy { address: self.first.clone() });
            (self.events, self.of_first) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, Watch};

    fn advice(clients: &[&str]) -> Option<String> {
        let mut watch = Watch::default();
        let count = usize::try_from(EVENTS).unwrap();
        clients.iter().cycle().take(count).for_each(|client| watch.see(Some(client)));
        watch.advice().map(ToString::to_string)
    }

    #[test]
    fn one_private_client_for_all_is_a_proxy() {
        assert!(advice(&["10.0.0.1"]).unwrap().contains("come from 10.0.0.1, which looks like"));
        assert_eq!(advice(&["203.0.113.9"]), None);
        assert_eq!(advice(&["10.0.0.1", "10.0.0.2"]), None);
    }
}
