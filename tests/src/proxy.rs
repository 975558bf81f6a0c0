//! A wire that can be cut, blocked and half closed: connections to a service go through it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They arrive.
    Open,
    /// Nobody can connect.
    Cut,
    /// They are kept until the wire is mended, in both directions.
    Stalled,
    /// Those of the service are kept until the wire is mended: it hears, and is not heard.
    Mute,
}

#[derive(Debug)]
struct State {
    way: Way,
    /// The service.
    target: SocketAddr,
    /// Clients, and the service's ends.
    open: Vec<(TcpStream, TcpStream)>,
}

#[derive(Debug)]
struct Wire(Mutex<State>, Condvar);

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn turn(&self, way: Way) {
        self.state().way = way;
        self.1.notify_all();
    }

    /// Waits until bytes may go on; false where they never will.
    fn pass(&self, answers: bool) -> bool {
        let kept = |state: &mut State| match state.way {
            Way::Stalled => true,
            Way::Mute => answers,
            Way::Open | Way::Cut => false,
        };
        self.1.wait_while(self.state(), kept).unwrap().way != Way::Cut
    }
}

/// Passes bytes on to a service, both ways.
#[derive(Debug)]
pub struct Proxy {
    /// Where to connect instead.
    pub address: SocketAddr,
    wire: Arc<Wire>,
}

impl Proxy {
    /// A wire to `target`.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let wire =
            Arc::new(Wire(Mutex::new(State { way: Way::Open, target, open: Vec::new() }), Condvar::new()));
        let kept = Arc::clone(&wire);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (way, target) = {
                    let state = kept.state();
                    (state.way, state.target)
                };
                if way == Way::Cut {
                    continue;
                }
                let Ok(service) = TcpStream::connect(target) else { continue };
                let mut state = kept.state();
                for (from, to, answers) in [(&client, &service, false), (&service, &client, true)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let wire = Arc::clone(&kept);
                    std::thread::spawn(move || carry(from, to, &wire, answers));
                }
                state.open.push((client, service));
            }
        });
        Self { address, wire }
    }

    /// A wire to the service that a URL names, and the URL through it.
    pub fn on_the_way_to(url: &str) -> (Self, String) {
        let from = url.find("://").map_or(0, |at| at + 3);
        let end = url[from..].find(['/', '?']).map_or(url.len(), |at| from + at);
        let host = url[from..end].rfind('@').map_or(from, |at| from + at + 1);
        let wire = Self::to(url[host..end].to_socket_addrs().unwrap().next().unwrap());
        let through = format!("{}{}{}", &url[..host], wire.address, &url[end..]);
        (wire, through)
    }

    /// Breaks what is connected and lets nobody connect.
    pub fn cut(&self) {
        self.wire.turn(Way::Cut);
        for (client, service) in self.wire.state().open.drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = service.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing through, and tells nobody. What was on its way arrives once the wire is mended.
    pub fn stall(&self) {
        self.wire.turn(Way::Stalled);
    }

    /// Lets the service hear and not be heard: what is asked is done, and nobody learns of it until the wire is mended.
    pub fn mute(&self) {
        self.wire.turn(Way::Mute);
    }

    /// Ends every connection towards the service, which finishes what it was asked, answers, and closes. Who connects from now on
    /// is let through.
    pub fn half_close(&self) {
        for (_, service) in &self.wire.state().open {
            let _ = service.shutdown(Shutdown::Write);
        }
    }

    /// Leads whoever connects from now on to another service.
    pub fn lead_to(&self, target: SocketAddr) {
        self.wire.state().target = target;
    }

    /// Lets everybody connect again, and what was kept go on.
    pub fn mend(&self) {
        self.wire.turn(Way::Open);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, wire: &Wire, answers: bool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !wire.pass(answers) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // Also the end is heard of only when the wire lets it through.
    wire.pass(answers);
    let _ = to.shutdown(Shutdown::Both);
}
