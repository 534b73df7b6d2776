//! One node of an Apache Kafka as a process: formatted, started, killed and started again. What it is (broker, controller, both) its properties say.
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

/// A broker needs some seconds, and on a machine with ten times the load more than a minute; this long, and it never will.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// Kills the broker when standard input ends. The folder stays while a file `keep` is in it.
const KEEPER: &str = r#"
"$@" </dev/null >>broker.log 2>&1 &
echo $! >pid.new && mv pid.new pid
cat >/dev/null
kill -9 $!
wait $!
[ -e keep ] || rm -rf "$PWD"
"#;

/// What a node is to be.
pub struct Layout {
    /// Of `server.properties`, all but where it keeps its data.
    pub properties: String,
    pub cluster_id: String,
    /// More words for Kafka's own formatting, such as `--add-scram`. `None`: a broker beside a controller that was formatted so: it needs no more
    /// than the cluster's id, which saves the start of a Java.
    pub format: Option<Vec<String>>,
    /// Its `node.id` in the properties.
    pub node: u32,
    /// What Java is told, such as `-Xmx400m`.
    pub java: &'static [&'static str],
    /// Where it listens when it is up.
    pub port: u16,
    /// Files that the properties name, relative to the node's folder.
    pub files: Vec<(&'static str, String)>,
}

pub struct KafkaProcess {
    folder: PathBuf,
    libs: PathBuf,
    java: &'static [&'static str],
    port: u16,
    keeper: Option<Child>,
}

impl KafkaProcess {
    /// Brings the jars if need be and formats a fresh folder. The error says why there is no Kafka.
    pub fn new(layout: Layout) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let libs = jars::bring()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = jars::home().join(format!("run-{}-{number}", std::process::id()));
        let kafka = Self {
            folder,
            libs,
            java: layout.java,
            port: layout.port,
            keeper: None,
        };
        kafka.format(&layout)?;
        Ok(kafka)
    }

    fn format(&self, layout: &Layout) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let (data, id) = (self.folder.join("data"), &layout.cluster_id);
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&data).map_err(io)?;
        for (name, text) in &layout.files {
            fs::write(self.folder.join(name), text).map_err(io)?;
        }
        let properties = format!("{}log.dirs={}\n", layout.properties, data.display());
        fs::write(self.folder.join("server.properties"), properties).map_err(io)?;
        let Some(more) = &layout.format else {
            let (node, directory) = (layout.node, random_id());
            let meta =
                format!("version=1\ncluster.id={id}\nnode.id={node}\ndirectory.id={directory}\n");
            return fs::write(data.join("meta.properties"), meta).map_err(io);
        };
        let tool = self
            .java()
            .args(["kafka.tools.StorageTool", "format"])
            .args(["-c", "server.properties", "-t", id])
            .args(more)
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

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.current_dir(&self.folder)
            .args(self.java)
            .args(["-Xshare:auto", "-cp"])
            .arg(self.libs.join("*"));
        java
    }

    /// The same, and does not wait until it takes connections.
    pub fn launch(&mut self) -> Result<(), String> {
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
        Ok(())
    }

    /// Starts it on what the folder holds, and waits until it takes connections.
    pub fn run(&mut self) -> Result<(), String> {
        self.launch()?;
        self.wait()
    }

    /// Waits until what was launched takes connections.
    pub fn wait(&self) -> Result<(), String> {
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
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

    /// Whether it was killed, or never started.
    pub fn is_down(&self) -> bool {
        self.keeper.is_none()
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

/// An id as Kafka makes them. Each cluster has one of its own: saved positions belong to a cluster's id.
pub fn random_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let mut id = [0; 16];
    for half in id.chunks_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one("").to_le_bytes());
    }
    // Its text must not begin with a dash, which the tool would take for an option.
    id[0] &= 0x7f;
    URL_SAFE_NO_PAD.encode(id)
}
