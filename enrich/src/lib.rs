//! Deploys, identity, network and routes joined at event time.
