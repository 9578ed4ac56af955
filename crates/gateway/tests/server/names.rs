//! Names of carriers in the name service: pointers (NAPTR), services (SRV) and addresses lead calls of ours to the callee.

use std::net::SocketAddr;

use serde_json::json;
use tokio::net::UdpSocket;

use crate::raw_phone::RawPhone;
use crate::rig::Rig;

// Kinds of records.
const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// A name server of a few records. It answers questions for which it has none with none.
struct Zone(Vec<(&'static str, u16, Vec<u8>)>);

/// A name as labels (RFC 1035 section 3.1).
fn labels(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// The data of a service record (RFC 2782).
fn srv(priority: u16, port: u16, host: &str) -> Vec<u8> {
    let numbers = [priority, 10, port];
    [numbers.iter().flat_map(|number| number.to_be_bytes()).collect(), labels(host)].concat()
}

/// The data of a pointer to a service (RFC 3403).
fn naptr(order: u16, service: &str, to: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let numbers = [order, 50].iter().flat_map(|number: &u16| number.to_be_bytes()).collect();
    [numbers, text("s"), text(service), text(""), labels(to)].concat()
}

impl Zone {
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let length = question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
        let name = question[12..12 + length].to_ascii_lowercase();
        let kind = u16::from_be_bytes(question.get(12 + length..14 + length)?.try_into().ok()?);
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(own, of, _)| labels(own) == name && *of == kind)
            .map(|row| &row.2)
            .collect();
        let mut answer = question[..2].to_vec();
        answer.extend([0x84, 0, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
        answer.extend(&question[12..16 + length]);
        for data in found {
            // The name of the question, the kind, class IN, a minute.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }

    async fn serve(self, socket: UdpSocket) {
        let mut question = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            if let Some(answer) = self.answer(&question[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_where_the_records_of_a_name_lead() {
    let loopback = vec![127, 0, 0, 1];
    let bound = || async {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    };
    let ((pointed, by_naptr), (served, by_srv), (_nobody, second)) =
        (bound().await, bound().await, bound().await);
    let zone = Zone(vec![
        ("carrier.test", NAPTR, naptr(20, "SIP+D2T", "_sip._tcp.carrier.test")),
        ("carrier.test", NAPTR, naptr(10, "SIP+D2U", "east.carrier.test")),
        ("east.carrier.test", SRV, srv(1, by_naptr, "gw.carrier.test")),
        ("_sip._udp.carrier.test", SRV, srv(1, second, "gw.carrier.test")),
        ("_sip._udp.plain.test", SRV, srv(2, second, "gw.carrier.test")),
        ("_sip._udp.plain.test", SRV, srv(1, by_srv, "gw.carrier.test")),
        ("gw.carrier.test", A, loopback),
    ]);
    let names = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server: SocketAddr = names.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the name server lives as long as its test")]
    tokio::spawn(zone.serve(names));
    let rig = Rig::start_with(|config| config.sip.dns = vec![server]).await;
    for (name, socket) in [("carrier.test", pointed), ("plain.test", served)] {
        let phone = RawPhone::at(socket, rig.server.sip_addr());
        let mut client = rig.connect("/call/sip").await;
        client.send(json!({"command": "invite", "option": {"callee": format!("sip:desk@{name}")}})).await;
        let invite = phone.asked("INVITE").await;
        assert!(invite.starts_with(&format!("INVITE sip:desk@{name} SIP/2.0\r\n")), "{invite}");
        phone.answer(&invite, "486 Busy Here", "").await;
        assert_eq!(client.event("reject").await["code"], 486);
    }
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": "sip:desk@nowhere.test"}})).await;
    assert_eq!(client.event("reject").await["code"], 503, "a name without records leads nowhere");
    drop(client);
    rig.server.stop().await;
}
