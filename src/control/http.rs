//! The admin port.
//!
//! | endpoint | answers |
//! |---|---|
//! | `/` | a plain list of the others |
//! | `/live` | 200 while the process turns: for a supervisor that restarts what hangs |
//! | `/ready` | 200, or 503 with the reasons: `{"ready": false, "reasons": ["..."]}`: for who routes or waits |
//! | `/metrics` | OpenMetrics 1.0 text |
//! | `/status` | JSON: what the daemon is doing, with the books of each input ([`crate::metrics::Snapshot`]) |
//!
//! GET and HEAD; others get 405, other paths 404. One request a connection. A client that is slow, large or one too many cannot hurt: a connection
//! has [`CONNECTION_TIMEOUT`] in all, a request's head [`LARGEST_HEAD`] bytes, its body is not read, and at most [`MOST_CONNECTIONS`] are open;
//! further ones wait in the kernel's queue.
//!
//! Invariant: everything here lives inside the future of [`serve`]. When that has ended, or was dropped, no connection and no task is left.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::logging::Seldom;

/// Connections that are open at once.
pub const MOST_CONNECTIONS: usize = 64;
/// Time of a connection, from its acceptance to the end of the answer.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of a request, in bytes: line and headers.
pub const LARGEST_HEAD: usize = 16 * 1024;
/// What open connections still get after the stop.
pub const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long no connection is accepted after the system refused to accept one, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: &str = "logferry\n\n/live     200 while the process turns\n/ready    200, or 503 with the reasons\n/metrics  OpenMetrics\n/status   JSON\n";

/// What the daemon shows of itself. Called for each request, on the runtime: it must be quick and must not block.
pub trait Admin: Send + Sync {
    /// `Err` with what is missing, one sentence each.
    fn ready(&self) -> Result<(), Vec<String>>;
    /// OpenMetrics text, see [`crate::metrics::render`].
    fn metrics(&self) -> String;
    /// See [`crate::metrics::status_json`].
    fn status(&self) -> Value;
}

/// Why there is no admin port.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for the admin port: {reason}; choose another `admin.listen`, or `listen: null` to do without"
)]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub reason: std::io::Error,
}

/// Takes the port, so that a port in use is found before anything starts.
///
/// # Errors
/// The port is in use, or not for this user.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|reason| BindError { address, reason })
}

/// Answers until `stop` fires; answers that are under way then get [`STOP_GRACE`].
pub async fn serve(listener: TcpListener, state: Arc<dyn Admin>, stop: impl Future<Output = ()>) {
    let limits = Limits {
        connections: MOST_CONNECTIONS,
        head: HEAD_TIMEOUT,
        connection: CONNECTION_TIMEOUT,
    };
    serve_within(limits, listener, state, stop).await;
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    head: Duration,
    connection: Duration,
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    state: Arc<dyn Admin>,
    stop: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    let seldom = Seldom::default();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = connections.join_next() => report(ended, &seldom),
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(limits, stream, Arc::clone(&state)));
                }
                Err(error) => {
                    if let Some(held_back) = seldom.speak("accept") {
                        tracing::warn!(%error, held_back, "the admin port cannot accept a connection");
                    }
                    // Short: the stop is not looked at meanwhile.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            report(ended, &seldom);
        }
    };
    // Whatever is open after that is cut when the set is dropped.
    let _ = tokio::time::timeout(STOP_GRACE, finish).await;
}

fn report(ended: Result<(), tokio::task::JoinError>, seldom: &Seldom) {
    if let Err(error) = ended
        && let Some(held_back) = seldom.speak("panic")
    {
        tracing::error!(%error, held_back, "an answer of the admin port failed; this is a fault of logferry");
    }
}

/// One connection: one request, one answer.
async fn converse(limits: Limits, stream: TcpStream, state: Arc<dyn Admin>) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answer = answer(request.method(), request.uri().path(), state.as_ref());
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(LARGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(limits.connection, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin port ended early"),
        Err(_) => tracing::debug!("a connection to the admin port was too slow"),
    }
}

fn answer(method: &Method, path: &str, state: &dyn Admin) -> Response<Full<Bytes>> {
    let known = matches!(path, "/" | "/live" | "/ready" | "/metrics" | "/status");
    if !known {
        return page(
            StatusCode::NOT_FOUND,
            TEXT,
            format!("nothing is here\n\n{INDEX}"),
        );
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = page(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD\n".to_owned(),
        );
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/live" => page(StatusCode::OK, TEXT, "live\n".to_owned()),
        "/ready" => match state.ready() {
            Ok(()) => page(
                StatusCode::OK,
                JSON,
                lines_of(&json!({"ready": true, "reasons": []})),
            ),
            Err(reasons) => page(
                StatusCode::SERVICE_UNAVAILABLE,
                JSON,
                lines_of(&json!({"ready": false, "reasons": reasons})),
            ),
        },
        "/metrics" => page(StatusCode::OK, OPENMETRICS, state.metrics()),
        "/status" => page(StatusCode::OK, JSON, lines_of(&state.status())),
        _ => page(StatusCode::OK, TEXT, INDEX.to_owned()),
    }
}

/// JSON that ends with a line feed, for who looks at it with curl.
fn lines_of(value: &Value) -> String {
    format!("{value:#}\n")
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net;
    use std::sync::Mutex;

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Fake {
        missing: Mutex<Vec<String>>,
    }

    impl Admin for Fake {
        fn ready(&self) -> Result<(), Vec<String>> {
            let missing = self.missing.lock().unwrap().clone();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(missing)
            }
        }
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
        fn status(&self) -> Value {
            json!({"version": "test"})
        }
    }

    const PATIENT: Limits = Limits {
        connections: 4,
        head: HEAD_TIMEOUT,
        connection: CONNECTION_TIMEOUT,
    };

    /// A server on its own thread, asked through plain sockets.
    struct Server {
        address: SocketAddr,
        state: Arc<Fake>,
        stop: oneshot::Sender<()>,
        serving: JoinSet<()>,
        runtime: Runtime,
    }

    fn server(limits: Limits) -> Server {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(bind("127.0.0.1:0".parse().unwrap()))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Fake::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut serving = JoinSet::new();
        let shown = Arc::clone(&state) as Arc<dyn Admin>;
        let stop_fires = async {
            let _ = stopped.await;
        };
        serving.spawn_on(
            serve_within(limits, listener, shown, stop_fires),
            runtime.handle(),
        );
        Server {
            address,
            state,
            stop,
            serving,
            runtime,
        }
    }

    impl Server {
        fn connect(&self) -> net::TcpStream {
            let stream = net::TcpStream::connect(self.address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            stream
        }

        fn says(&self, request: &str) -> String {
            let mut stream = self.connect();
            // A request that is refused early may not be taken whole, and its answer may end in a reset.
            let _ = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        }

        fn get(&self, path: &str) -> (String, String) {
            let answer = self.says(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head.to_lowercase(), body.to_owned())
        }

        fn is_live(&self) -> bool {
            self.get("/live").0.starts_with("http/1.1 200")
        }
    }

    #[test]
    fn every_endpoint_that_the_index_lists_answers() {
        let server = server(PATIENT);
        let (_, index) = server.get("/");
        let listed: Vec<&str> = index
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| word.starts_with('/'))
            .collect();
        assert_eq!(listed, ["/live", "/ready", "/metrics", "/status"]);
        for path in listed {
            assert!(server.get(path).0.starts_with("http/1.1 200"), "{path}");
        }
    }

    #[test]
    fn ready_tells_what_is_missing_and_live_does_not_care() {
        let server = server(PATIENT);
        assert!(server.get("/ready").0.starts_with("http/1.1 200"));
        *server.state.missing.lock().unwrap() = vec!["cluster main: no broker answers".to_owned()];
        let (head, body) = server.get("/ready");
        assert!(head.starts_with("http/1.1 503"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body,
            json!({"ready": false, "reasons": ["cluster main: no broker answers"]})
        );
        assert!(server.is_live());
    }

    #[test]
    fn metrics_and_status_say_what_they_are() {
        let server = server(PATIENT);
        let (head, body) = server.get("/metrics?name=x");
        assert!(
            head.contains(
                "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"
            ),
            "{head}"
        );
        assert_eq!(body, "# EOF\n");
        let (head, body) = server.get("/status");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(
            serde_json::from_str::<Value>(&body).unwrap(),
            json!({"version": "test"})
        );
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let answer = server(PATIENT)
            .says("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .to_lowercase();
        assert!(
            answer.starts_with("http/1.1 200") && answer.contains("content-length: 6"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn other_paths_and_other_methods_are_refused() {
        let server = server(PATIENT);
        assert!(server.get("/nothing").0.starts_with("http/1.1 404"));
        assert!(server.get("/metrics/").0.starts_with("http/1.1 404"));
        let answer = server
            .says("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            .to_lowercase();
        assert!(
            answer.starts_with("http/1.1 405") && answer.contains("allow: get, head"),
            "{answer}"
        );
        assert!(server.says("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn a_head_without_end_is_refused_by_its_size() {
        let server = server(PATIENT);
        let answer = server.says(&format!(
            "GET / HTTP/1.1\r\nX-Long: {}",
            "a".repeat(64 * LARGEST_HEAD)
        ));
        assert!(
            answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
            "{answer}"
        );
        assert!(server.is_live());
    }

    #[test]
    fn one_request_ends_the_connection() {
        let answer = server(PATIENT)
            .says("GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }

    #[test]
    fn silent_clients_are_let_go_and_those_beyond_the_limit_are_answered_then() {
        let server = server(Limits {
            head: Duration::from_millis(50),
            ..PATIENT
        });
        let silent: Vec<_> = (0..PATIENT.connections).map(|_| server.connect()).collect();
        assert!(server.is_live());
        for mut stream in silent {
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!answer.starts_with(b"HTTP/1.1 200"));
        }
    }

    #[test]
    fn a_client_that_sends_its_head_byte_by_byte_is_cut_by_the_connection_s_time() {
        let server = server(Limits {
            connection: Duration::from_millis(50),
            ..PATIENT
        });
        let mut stream = server.connect();
        stream.write_all(b"GET /live HT").unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn serve_ends_when_it_is_told_and_the_port_is_free_again() {
        let mut server = server(PATIENT);
        let idle = server.connect();
        server.stop.send(()).unwrap();
        server
            .runtime
            .block_on(server.serving.join_next())
            .unwrap()
            .unwrap();
        drop(idle);
        server.runtime.block_on(bind(server.address)).unwrap();
    }

    #[test]
    fn a_port_in_use_is_named_with_what_to_do() {
        let server = server(PATIENT);
        let told = server
            .runtime
            .block_on(bind(server.address))
            .map_err(|error| error.to_string())
            .unwrap_err();
        assert!(
            told.contains(&server.address.to_string()) && told.contains("admin.listen"),
            "{told}"
        );
    }
}
