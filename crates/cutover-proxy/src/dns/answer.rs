//! What to answer: a pure function of the question, the network's names and who asks.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::control::{NetworkNames, Preview};
use crate::listen::{in_subnet, parse_subnet};

/// Seconds an answer may be remembered: instances come and go with every deployment.
const TTL: u32 = 2;

/// The largest answer we send over UDP, whatever the client allows (DNS flag day 2020).
const MAX_UDP: u16 = 1232;

/// What a datagram may hold when the client says nothing (RFC 1035).
const PLAIN_UDP: u16 = 512;

/// The names that are answered at one address, ready to be looked up.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    subnets: Vec<(IpAddr, u8)>,
    names: HashMap<Name, Vec<IpAddr>>,
    reverse: HashMap<IpAddr, Name>,
    previews: Vec<View>,
}

/// A [`Preview`], ready to be looked up.
#[derive(Debug)]
struct View {
    names: HashMap<Name, Vec<IpAddr>>,
    not_for: BTreeSet<IpAddr>,
}

/// What to do with a datagram.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Box<Message>),
    /// Not ours: ask the machine's resolvers.
    Forward(Query),
    /// Not a question at all.
    Silence,
}

impl Zone {
    /// `here`: what is answered at this address; `beyond`: what those who ask here may find, too.
    pub(crate) fn new(here: &[&NetworkNames], beyond: &[&NetworkNames]) -> Self {
        let mut zone = Self::default();
        for network in here {
            let subnets = network.subnets.iter().filter_map(|text| parse_subnet(text));
            zone.subnets.extend(subnets);
            zone.previews.extend(network.preview.as_ref().map(View::new));
            for (name, addrs) in parsed(&network.names) {
                zone.add(name, addrs);
            }
        }
        let own: HashSet<Name> = zone.names.keys().cloned().collect();
        for network in beyond {
            for (name, addrs) in parsed(&network.names).filter(|(name, _)| !own.contains(name)) {
                zone.add(name, addrs);
            }
        }
        zone
    }

    fn add(&mut self, name: Name, addrs: &[IpAddr]) {
        for addr in addrs {
            self.reverse.entry(*addr).or_insert_with(|| name.clone());
        }
        let known = self.names.entry(name).or_default();
        let fresh: Vec<IpAddr> =
            addrs.iter().filter(|addr| !known.contains(addr)).copied().collect();
        known.extend(fresh);
    }

    /// What the name means to `asker`.
    fn means(&self, name: &Name, asker: IpAddr) -> Option<&Vec<IpAddr>> {
        let views = self.previews.iter().filter(|view| !view.not_for.contains(&asker));
        let mut special = views.filter_map(|view| view.names.get(name));
        special.next().or_else(|| self.names.get(name))
    }

    /// `turn` rotates the addresses from one answer to the next.
    pub(crate) fn answer(&self, datagram: &[u8], asker: IpAddr, turn: usize) -> Answer {
        let Ok(question) = Message::from_vec(datagram) else { return Answer::Silence };
        if question.message_type() != MessageType::Query {
            return Answer::Silence;
        }
        let known = self.subnets.is_empty() || self.is_local(asker) || asker.is_loopback();
        if !known {
            return Answer::Reply(Box::new(reply(&question, ResponseCode::Refused)));
        }
        let [query] = question.queries() else {
            return Answer::Reply(Box::new(reply(&question, ResponseCode::FormErr)));
        };
        if question.op_code() != OpCode::Query {
            return Answer::Reply(Box::new(reply(&question, ResponseCode::NotImp)));
        }
        match self.look_up(query, asker, turn) {
            None => Answer::Forward(query.clone()),
            Some(Err(code)) => Answer::Reply(Box::new(reply(&question, code))),
            Some(Ok(data)) => {
                let mut message = reply(&question, ResponseCode::NoError);
                for data in data {
                    message.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
                }
                Answer::Reply(Box::new(message))
            }
        }
    }

    /// `None`: not for us to say.
    fn look_up(
        &self,
        query: &Query,
        asker: IpAddr,
        turn: usize,
    ) -> Option<Result<Vec<RData>, ResponseCode>> {
        let name = absolute(query.name());
        if query.query_class() != DNSClass::IN {
            return None;
        }
        if let Some(addrs) = self.means(&name, asker) {
            return Some(Ok(records(addrs, query.query_type(), turn)));
        }
        if let Some(addr) = reverse_addr(&name) {
            return match self.reverse.get(&addr) {
                Some(name) if query.query_type() == RecordType::PTR => {
                    Some(Ok(vec![RData::PTR(PTR(name.clone()))]))
                }
                Some(_) => Some(Ok(Vec::new())),
                // MariaDB and others look up whoever connects: an answer from far away would make
                // every connection wait, and tell strangers about our addresses.
                None => self.is_local(addr).then_some(Err(ResponseCode::NXDomain)),
            };
        }
        (name.num_labels() <= 1).then_some(Err(ResponseCode::NXDomain))
    }

    fn is_local(&self, addr: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| in_subnet(*subnet, addr))
    }
}

impl View {
    fn new(preview: &Preview) -> Self {
        let names = parsed(&preview.names).map(|(name, addrs)| (name, addrs.clone())).collect();
        Self { names, not_for: preview.not_for.clone() }
    }
}

fn parsed(names: &BTreeMap<String, Vec<IpAddr>>) -> impl Iterator<Item = (Name, &Vec<IpAddr>)> {
    names.iter().filter_map(|(text, addrs)| Some((parse_name(text)?, addrs)))
}

/// The name as it is looked up: absolute, lowercase. `None`: it is none.
pub(crate) fn parse_name(text: &str) -> Option<Name> {
    let name = Name::from_ascii(text).ok()?;
    (name.num_labels() > 0).then(|| absolute(&name))
}

fn absolute(name: &Name) -> Name {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse_addr(name: &Name) -> Option<IpAddr> {
    let arpa = name.iter().next_back()?.eq_ignore_ascii_case(b"arpa");
    let net = if arpa { name.parse_arpa_name().ok()? } else { return None };
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// The addresses of the wanted kind; none is an answer too (the name exists).
fn records(addrs: &[IpAddr], wanted: RecordType, turn: usize) -> Vec<RData> {
    let mut data: Vec<_> = addrs
        .iter()
        .filter_map(|addr| match (addr, wanted) {
            (IpAddr::V4(addr), RecordType::A | RecordType::ANY) => Some(RData::A(A(*addr))),
            (IpAddr::V6(addr), RecordType::AAAA | RecordType::ANY) => {
                Some(RData::AAAA(AAAA(*addr)))
            }
            _ => None,
        })
        .collect();
    if !data.is_empty() {
        let by = turn % data.len();
        data.rotate_left(by);
    }
    data
}

/// A reply without records.
pub(crate) fn reply(question: &Message, code: ResponseCode) -> Message {
    let mut message = Message::new();
    message
        .set_id(question.id())
        .set_message_type(MessageType::Response)
        .set_op_code(question.op_code())
        .set_recursion_desired(question.recursion_desired())
        .set_recursion_available(true)
        .set_response_code(code);
    for query in question.queries().iter().take(1) {
        message.add_query(query.clone());
    }
    if question.extensions().is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP);
        message.set_edns(edns);
    }
    message
}

/// The bytes of a reply; over UDP what does not fit is cut and marked, so that the client comes
/// again over TCP.
pub(crate) fn encode(mut message: Message, question: &[u8], udp: bool) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    if !udp || bytes.len() <= usize::from(udp_limit(question)) {
        return Some(bytes);
    }
    message.take_answers();
    message.set_truncated(true);
    message.to_vec().ok()
}

/// How much a client takes in one datagram.
pub(crate) fn udp_limit(question: &[u8]) -> u16 {
    let edns = Message::from_vec(question)
        .ok()
        .and_then(|question| question.extensions().as_ref().map(Edns::max_payload));
    edns.unwrap_or(PLAIN_UDP).clamp(PLAIN_UDP, MAX_UDP)
}
