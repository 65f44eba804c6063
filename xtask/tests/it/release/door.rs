//! A door of ours before an address, which can be closed. It goes with the test's process.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;

use xtask::services::faults::{Faults, Mode};

pub struct Door(Faults);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Door {
    /// Opens one on a free port.
    pub fn before(server: SocketAddr) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (to, from) = channel();
        std::thread::spawn(move || {
            runtime().block_on(async {
                to.send(Faults::start(free, server).await.unwrap()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        Self(from.recv().unwrap())
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.0.listen
    }

    pub fn close(&self) {
        runtime().block_on(self.0.set(Mode::Refuse)).unwrap();
    }

    pub fn open(&self) {
        runtime().block_on(self.0.set(Mode::Normal)).unwrap();
    }
}
