//! The configuration of a Kafka node, sized for tests on a small machine.
//!
//! Owns: the text of `server.properties` and of the logging file. Never: reads or writes them.

use std::path::Path;

/// Where a node listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ports {
    /// For clients.
    pub(super) client: u16,
    /// For the other nodes' controllers.
    pub(super) controller: u16,
}

/// `server.properties` of node `id` (from 1) of a cluster with these ports.
pub(super) fn server(id: usize, ports: &[Ports], storage: &Path) -> String {
    let voters: Vec<String> = (1..)
        .zip(ports)
        .map(|(voter, ports)| format!("{voter}@127.0.0.1:{}", ports.controller))
        .collect();
    let own = ports.get(id - 1).copied().unwrap_or_default();
    let copies = if ports.len() < 3 { 1 } else { 3 };
    let in_sync = if copies == 1 { 1 } else { 2 };
    let Ports { client, controller } = own;
    let (voters, storage) = (voters.join(","), storage.display());
    format!(
        "# One node that is both broker and controller.
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={storage}
# What the delivery rules need of a broker: nothing acknowledged is lost.
default.replication.factor={copies}
min.insync.replicas={in_sync}
unclean.leader.election.enable=false
auto.create.topics.enable=false
# Kafka's own topics: few partitions, so that the first commit is quick.
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=2
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
# A small machine.
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=134217728
# A dead node is noticed in seconds, since tests kill nodes.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
controlled.shutdown.enable=true
"
    )
}

/// The logging file: everything from `info` on to one file named by a system property.
pub(super) const LOGGING: &str = "\
status = warn
appender.file.type = File
appender.file.name = FILE
appender.file.fileName = ${sys:tidegate.kafka.log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.file.ref = FILE
";

/// The same on standard output.
pub(crate) const LOGGING_TO_STDOUT: &str = "\
status = warn
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = OUT
";

/// `server.properties` of the only node, in a container; `ADVERTISED` is to be replaced by what
/// clients are told.
pub(crate) fn inside_a_container(client: u16) -> String {
    let ports = Ports { client, controller: client + 1 };
    let own = format!("PLAINTEXT://127.0.0.1:{client}");
    let text = server(1, &[ports], Path::new("/var/lib/kafka"));
    text.replace(
        &format!("advertised.listeners={own}"),
        "advertised.listeners=PLAINTEXT://ADVERTISED",
    )
    .replace(&format!("listeners={own},"), &format!("listeners=PLAINTEXT://0.0.0.0:{client},"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Ports, inside_a_container, server};

    #[test]
    fn in_a_container_it_listens_to_all_and_tells_what_it_is_told_to() {
        let text = inside_a_container(9092);
        assert!(
            text.contains("\nlisteners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093\n")
        );
        assert!(text.contains("\nadvertised.listeners=PLAINTEXT://ADVERTISED\n"), "{text}");
    }

    #[test]
    fn one_node_keeps_one_copy_and_three_keep_three() {
        let port = |n: u16| Ports { client: 9000 + n, controller: 9100 + n };
        let alone = server(1, &[port(1)], Path::new("/x"));
        assert!(alone.contains("\ndefault.replication.factor=1\nmin.insync.replicas=1\n"));
        let third = server(3, &[port(1), port(2), port(3)], Path::new("/x"));
        assert!(third.contains("\ndefault.replication.factor=3\nmin.insync.replicas=2\n"));
        assert!(third.contains("\nadvertised.listeners=PLAINTEXT://127.0.0.1:9003\n"));
        assert!(third.contains("=1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103\n"));
    }
}
