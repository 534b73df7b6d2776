//! One Apache Kafka as a process: broker and controller in one, formatted, started, stopped and started again.
//!
//! It never outlives the test: its parent is a shell that waits for the end of a pipe whose other end the test process
//! holds. The pipe ends however the test process does, by SIGKILL too; the shell then kills the broker and removes its folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process};

use super::jars;
use crate::support::eventually::pause;
use crate::support::free_ports;

/// A broker on a loaded machine needs some seconds; this long, and it never will.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Kills the broker when standard input ends. The folder stays while a file `keep` is in it.
const KEEPER: &str = r#"
"$@" </dev/null >>broker.log 2>&1 &
echo $! >pid.new && mv pid.new pid
cat >/dev/null
kill -9 $!
wait $!
[ -e keep ] || rm -rf "$PWD"
"#;

pub struct KafkaProcess {
    folder: PathBuf,
    libs: PathBuf,
    pub clients: u16,
    /// The listener that only the proxy is meant to know.
    pub proxied: u16,
    /// The port that the proxied listener advertises.
    pub proxy: u16,
    /// The listener that wants a login: SASL PLAIN, user `me`, password `secret`.
    pub login: u16,
    keeper: Option<Child>,
}

impl KafkaProcess {
    /// Brings the jars if need be, formats a fresh folder and starts. The error says why there is no Kafka.
    pub fn start() -> Result<Self, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let libs = jars::bring()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = jars::home().join(format!("run-{}-{number}", std::process::id()));
        let [clients, proxied, proxy, login, controller] = free_ports();
        let mut kafka = Self {
            folder,
            libs,
            clients,
            proxied,
            proxy,
            login,
            keeper: None,
        };
        kafka.format(controller)?;
        kafka.run()?;
        Ok(kafka)
    }

    fn format(&self, controller: u16) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder).map_err(io)?;
        fs::write(
            self.folder.join("server.properties"),
            self.properties(controller),
        )
        .map_err(io)?;
        let tool = self
            .java()
            .args([
                "kafka.tools.StorageTool",
                "format",
                "-c",
                "server.properties",
                "-t",
                &cluster_id(),
            ])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("java: {error}"))?;
        if tool.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tool.stderr);
        Err(format!(
            "Kafka's storage could not be formatted: {}",
            said.trim()
        ))
    }

    fn properties(&self, controller: u16) -> String {
        let Self {
            clients,
            proxied,
            proxy,
            login,
            ..
        } = self;
        let data = self.folder.join("data");
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
listeners=CLIENTS://127.0.0.1:{clients},PROXIED://127.0.0.1:{proxied},LOGIN://127.0.0.1:{login},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{clients},PROXIED://127.0.0.1:{proxy},LOGIN://127.0.0.1:{login}
listener.security.protocol.map=CLIENTS:PLAINTEXT,PROXIED:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_me=\"secret\";
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=4194304
",
            data = data.display()
        )
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.current_dir(&self.folder)
            .args(["-Xmx400m", "-Xshare:auto", "-cp"])
            .arg(self.libs.join("*"));
        java
    }

    /// Starts the broker on what the folder holds, and waits until it takes connections.
    pub fn run(&mut self) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let _ = fs::remove_file(self.folder.join("keep"));
        let _ = fs::remove_file(self.folder.join("pid"));
        let java = self.java();
        let log = || {
            File::options()
                .append(true)
                .create(true)
                .open(self.folder.join("broker.log"))
        };
        let keeper = Command::new("sh")
            .current_dir(&self.folder)
            .args(["-c", KEEPER, "keeper"])
            .arg(java.get_program())
            .args(java.get_args())
            .args(["kafka.Kafka", "server.properties"])
            .stdin(Stdio::piped())
            .stdout(log().map_err(io)?)
            .stderr(log().map_err(io)?)
            // Out of the terminal's foreground group: Ctrl-C must not end the keeper before the broker.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        self.keeper = Some(keeper);

        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.clients)).is_err() {
            if !self.is_alive() && self.pid().is_some() || begun.elapsed() > START_DEADLINE {
                let said = fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default();
                let tail: Vec<_> = said.lines().take(20).collect();
                return Err(format!("Kafka did not start: {}", tail.join("\n")));
            }
            pause(Duration::from_millis(10));
        }
        Ok(())
    }

    pub fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    fn is_alive(&self) -> bool {
        let stat = self
            .pid()
            .map(|pid| fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())));
        // The keeper reaps only at the end, so a broker that died is a zombie until then.
        stat.is_some_and(|stat| stat.is_ok_and(|stat| !stat.contains(") Z ")))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("Kafka was started");
        kill_process(pid, signal).expect("Kafka runs");
    }

    /// SIGKILL. What it stored stays, and [`run`](Self::run) starts it again.
    pub fn kill(&mut self) {
        fs::write(self.folder.join("keep"), "").expect("to mark the broker's folder");
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

impl Drop for KafkaProcess {
    fn drop(&mut self) {
        let was_killed = self.keeper.is_none();
        self.end();
        if was_killed {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A cluster id of its own for each broker: saved positions belong to a cluster's id.
fn cluster_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let mut id = [0; 16];
    for half in id.chunks_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one("").to_le_bytes());
    }
    // Its text must not begin with a dash, which the tool would take for an option.
    id[0] &= 0x7f;
    URL_SAFE_NO_PAD.encode(id)
}
