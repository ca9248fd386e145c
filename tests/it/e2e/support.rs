//! Shared support: the simulator in a thread, the binary as a child process, and an HTTP client on the standard library.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use glue_integration_exporter::simulator::{Account, Handle, SimulatedIntegration, Simulator};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::e2e::exposition::Scrape;

/// The timeout for operations that take milliseconds, on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);
/// The longest duration of a stop.
pub const STOP: Duration = Duration::from_secs(5);
pub const SECRET_KEY: &str = "wJalrSECRETkeyEXAMPLE";

/// A configuration that watches every inbound integration of one region.
pub const ONE_SCOPE: &str = "\
polling: {interval: 10s}
scopes: [{name: all, regions: [eu-west-1]}]
";

/// Calls `probe` until it returns a value. Panics with `what` after `timeout`.
pub fn until<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < timeout, "not within {timeout:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A simulator in a thread of its own.
pub struct Sim {
    pub addr: SocketAddr,
    pub handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub fn simulator(account: Account) -> Sim {
    let (stop, stopped) = oneshot::channel::<()>();
    let (started_tx, started_rx) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), account)
                .await
                .unwrap();
            started_tx
                .send((simulator.local_addr, simulator.handle.clone()))
                .unwrap();
            simulator.serve(async { drop(stopped.await) }).await;
        });
    });
    let (addr, handle) = started_rx.recv().unwrap();
    Sim {
        addr,
        handle,
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            ended.is_none_or(|ended| ended.is_ok()),
            "the simulator panicked"
        );
    }
}

pub fn arn(region: &str, name: &str) -> String {
    format!("arn:aws:glue:{region}:111122223333:integration:{name}")
}

pub fn integration(region: &str, name: &str, status: &str) -> SimulatedIntegration {
    let arn_of = |rest: &str| format!("arn:aws:{rest}").replace("REGION", region);
    SimulatedIntegration::new(
        &arn(region, name),
        &arn_of(&format!("dynamodb:REGION:111122223333:table/{name}")),
        &arn_of("glue:REGION:111122223333:database/target"),
        status,
    )
}

/// A temporary directory and the environment of the processes that run in it.
pub struct Setup {
    pub dir: TempDir,
    env: Vec<(String, String)>,
}

impl Setup {
    /// Creates an empty setup, without configuration or credentials.
    pub fn bare() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            env: Vec::new(),
        }
    }

    pub fn new(sim: &Sim, config: &str) -> Self {
        Self::bare()
            .file("config.yaml", config)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL_GLUE", &format!("http://{}", sim.addr))
            .env(
                "AWS_ENDPOINT_URL_CLOUDWATCH",
                &format!("http://{}", sim.addr),
            )
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a command that runs `program` in this directory and environment.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    pub fn start(&self, args: &[&str]) -> Process {
        self.start_with_stderr(args, Stdio::piped())
    }

    pub fn start_with_stderr(&self, args: &[&str], stderr: Stdio) -> Process {
        let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
        Process::with_stderr(self.command(binary, args), stderr)
    }

    /// Runs the binary until it exits.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.start(args).ended(SOON)
    }

    /// Starts the daemon on a socket that it inherits, as from systemd.
    pub fn passed(&self, listener: OwnedFd) -> Process {
        let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
        // The shell moves the socket from its standard input to descriptor 3 and becomes the exporter.
        let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --web.systemd-socket 3<&0 </dev/null";
        let mut command = self.command("/bin/sh", &["-c", script, binary]);
        command.stdin(listener);
        Process::of(command)
    }

    /// Starts the daemon on a free port, with further flags.
    pub fn daemon(&self, flags: &[&str]) -> Daemon {
        let process = self.start(&[&["--web.listen-address=127.0.0.1:0"], flags].concat());
        let addr = process.addresses(1).remove(0);
        Daemon { process, addr }
    }
}

pub struct Daemon {
    pub process: Process,
    pub addr: String,
}

impl Daemon {
    pub fn get(&self, path: &str) -> Answer {
        request(&self.addr, "GET", path, "")
    }

    pub fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Scrape::of(&answer.body)
    }
}

/// A child process, which is killed on drop.
pub struct Process {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// Creates a pipe that is full of line breaks.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// The output of a process so far.
pub struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    pub fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Waits for the end of the output and returns all of it.
    pub fn ended(mut self) -> String {
        self.join();
        self.text()
    }

    fn join(&mut self) {
        self.reader.take().map(JoinHandle::join);
    }
}

pub struct Ended {
    /// The exit code. None if a signal killed the process.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Process {
    pub fn of(command: Command) -> Self {
        Self::with_stderr(command, Stdio::piped())
    }

    fn with_stderr(mut command: Command, stderr: Stdio) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let stderr = child.stderr.take();
        Self {
            stdout: Stream::new(child.stdout.take().unwrap()),
            stderr: stderr.map_or_else(|| Stream::new(std::io::empty()), Stream::new),
            child,
        }
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end of the process.
    pub fn ended(mut self, timeout: Duration) -> Ended {
        let start = Instant::now();
        let status = until("the end of the process", timeout, || {
            self.child.try_wait().unwrap()
        });
        let took = start.elapsed();
        for stream in [&mut self.stdout, &mut self.stderr] {
            stream.join();
        }
        Ended {
            code: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            took,
        }
    }

    /// Returns the addresses that the log reports, once there are at least `count`.
    pub fn addresses(&self, count: usize) -> Vec<String> {
        until("the log reports the addresses", SOON, || {
            let log = self.stderr.text();
            let (whole_lines, _) = log.rsplit_once('\n')?;
            let found: Vec<String> = whole_lines
                .lines()
                .filter_map(|line| line.split_once("listening address="))
                .map(|(_, rest)| rest.split(' ').next().unwrap_or(rest).to_owned())
                .collect();
            (found.len() >= count).then_some(found)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP client on one connection, over TCP or a Unix socket.
pub struct Client<S> {
    stream: BufReader<S>,
}

pub fn connect(addr: &str) -> Client<TcpStream> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_nodelay(true).unwrap();
    Client::over(stream)
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, bytes: &str) {
        self.stream.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// Sends a request with further header lines and reads the response.
    pub fn ask(&mut self, method: &str, target: &str, headers: &str) -> Answer {
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: exporter\r\n{headers}\r\n"
        ));
        if method == "HEAD" {
            self.head()
        } else {
            self.answer()
        }
    }

    /// Reads the next response, with a body of Content-Length bytes.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.header("content-length").expect("a Content-Length");
        let mut body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Reads the head of the next response.
    pub fn head(&mut self) -> Answer {
        let line = self.line();
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "");
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Answer {
            status,
            headers,
            body: String::new(),
        }
    }

    /// Returns true once the server has closed the connection and everything is read.
    pub fn is_closed(&mut self) -> bool {
        self.stream.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut with_name = self.headers.iter().filter(|(key, _)| key == name);
        let found = with_name.next().map(|(_, value)| value.as_str());
        assert!(with_name.next().is_none(), "{name} twice");
        found
    }
}

/// Sends a request on a new connection and returns the response.
pub fn request(addr: &str, method: &str, path: &str, headers: &str) -> Answer {
    connect(addr).ask(method, path, headers)
}
