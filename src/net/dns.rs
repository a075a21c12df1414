//! A name server for names of ours (RFC 1035): what it answers itself, and
//! what others have to be asked. Pure.

use simple_dns::rdata::{A, AAAA, OPT, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long others may remember an answer of ours, in seconds: containers
/// come and go.
const TTL: u32 = 2;

/// Longest answer over UDP to who says nothing of its length (RFC 1035, 4.2.1).
const SHORT: usize = 512;

/// Longest answer of ours over UDP: one that is never fragmented
/// (<https://www.dnsflagday.net/2020/>).
const LONG: usize = 1232;

/// Bytes of the header.
const HEADER: usize = 12;

/// The names that are known here, in lower case, with their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, String>,
}

impl Names {
    /// Adds an address of a name. The first name of an address is what it is
    /// called.
    pub fn add(&mut self, name: &str, address: IpAddr) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.names.entry(address).or_insert_with(|| name.clone());
        let addresses = self.addresses.entry(name).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// The addresses of a name in lower case; none if it is unknown.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }
}

/// How a question came, and its answer will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram.
    Udp,
    /// Over a connection, behind its length.
    Tcp,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This is sent back.
    Reply(Vec<u8>),
    /// Others are asked, in the same words.
    Forward,
    /// Nothing: it was none.
    Silence,
}

/// Answers a question, if it is about names of ours.
pub fn answer(question: &[u8], names: &Names, transport: Transport) -> Answer {
    // An answer that is answered makes a loop.
    if question.len() < HEADER || question[2] & 0x80 != 0 {
        return Answer::Silence;
    }
    let Ok(packet) = Packet::parse(question) else {
        return refuse(question, RCODE::FormatError);
    };
    if packet.opcode() != OPCODE::StandardQuery {
        return refuse(question, RCODE::NotImplemented);
    }
    let [asked] = &packet.questions[..] else {
        return refuse(question, RCODE::FormatError);
    };
    let internet = matches!(asked.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    let name = asked.qname.to_string().to_ascii_lowercase();
    let Some(records) = find(asked, &name, names, packet.id()).filter(|_| internet) else {
        return Answer::Forward;
    };
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    reply.set_flags(packet_flag(&packet, PacketFlag::RECURSION_DESIRED));
    reply.questions.push(asked.clone());
    reply.answers = records;
    if packet.opt().is_some() {
        *reply.opt_mut() = Some(OPT {
            opt_codes: Vec::new(),
            udp_packet_size: LONG as u16,
            version: 0,
        });
    }
    let asked_size = packet.opt().map(|opt| usize::from(opt.udp_packet_size));
    let limit = match transport {
        Transport::Udp => asked_size.unwrap_or(SHORT).clamp(SHORT, LONG),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let mut bytes = reply.build_bytes_vec_compressed().unwrap_or_default();
    if bytes.len() > limit {
        reply.answers.clear();
        reply.set_flags(PacketFlag::TRUNCATION);
        bytes = reply.build_bytes_vec_compressed().unwrap_or_default();
    }
    match bytes.is_empty() {
        true => refuse(question, RCODE::ServerFailure),
        false => Answer::Reply(bytes),
    }
}

/// The same answer to everything that is not ours: there is nobody else to
/// ask.
pub fn deny(question: &[u8]) -> Answer {
    refuse(question, RCODE::NameError)
}

/// The answer when nobody of those that were asked has answered.
pub fn fail(question: &[u8]) -> Answer {
    refuse(question, RCODE::ServerFailure)
}

/// An answer without records: the question's own header and, if it can be
/// read, the question.
fn refuse(question: &[u8], code: RCODE) -> Answer {
    if question.len() < HEADER || question[2] & 0x80 != 0 {
        return Answer::Silence;
    }
    let id = u16::from_be_bytes([question[0], question[1]]);
    let mut reply = Packet::new_reply(id);
    *reply.rcode_mut() = code;
    let parsed = Packet::parse(question);
    if let Ok(packet) = &parsed {
        reply.set_flags(packet_flag(packet, PacketFlag::RECURSION_DESIRED));
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        reply.questions.extend(packet.questions.first().cloned());
    }
    let bytes = reply.build_bytes_vec();
    bytes.map_or(Answer::Silence, Answer::Reply)
}

fn packet_flag(packet: &Packet, flag: PacketFlag) -> PacketFlag {
    match packet.has_flags(flag) {
        true => flag,
        false => PacketFlag::empty(),
    }
}

/// The records about a name; `None` if it is none of ours. A name that has
/// no records of the type asked for exists nevertheless (RFC 2308, 2.2).
fn find<'a>(
    asked: &Question<'a>,
    name: &str,
    names: &Names,
    id: u16,
) -> Option<Vec<ResourceRecord<'a>>> {
    let record = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, TTL, data);
    let wants = |kind| matches!(asked.qtype, QTYPE::ANY) || asked.qtype == QTYPE::TYPE(kind);
    if let Some(address) = reverse(name) {
        let name = Name::new(names.names.get(&address)?).ok()?.into_owned();
        let pointer = record(RData::PTR(PTR(name)));
        return Some(Vec::from_iter(wants(TYPE::PTR).then_some(pointer)));
    }
    let addresses = names.addresses(name);
    if addresses.is_empty() {
        return None;
    }
    let data = |address: &IpAddr| match address {
        IpAddr::V4(v4) if wants(TYPE::A) => Some(record(RData::A(A::from(*v4)))),
        IpAddr::V6(v6) if wants(TYPE::AAAA) => Some(record(RData::AAAA(AAAA::from(*v6)))),
        _ => None,
    };
    // Who takes the first gets another one each time.
    let turn = usize::from(id) % addresses.len();
    let turned = addresses[turn..].iter().chain(&addresses[..turn]);
    Some(turned.filter_map(data).collect())
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for
/// (RFC 1035, 3.5; RFC 3596, 2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0; 4];
        let mut labels = digits.split('.');
        for byte in bytes.iter_mut().rev() {
            *byte = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| IpAddr::from(bytes));
    }
    let mut bits = 0u128;
    let mut count = 0;
    for label in name.strip_suffix(".ip6.arpa")?.rsplit('.') {
        bits = bits << 4 | u128::from_str_radix(label, 16).ok().filter(|d| *d < 16)?;
        count += 1;
    }
    (count == 32).then(|| IpAddr::from(bits.to_be_bytes()))
}

/// Whether an answer of somebody who was asked is one to the question: it has
/// the same id and the same question.
pub fn answers(question: &[u8], answer: &[u8]) -> bool {
    if answer.len() < HEADER || answer.get(..2) != question.get(..2) || answer[2] & 0x80 == 0 {
        return false;
    }
    let (Ok(question), Ok(answer)) = (Packet::parse(question), Packet::parse(answer)) else {
        // What we cannot read, the one who asked may.
        return true;
    };
    match (question.questions.first(), answer.questions.first()) {
        (Some(asked), Some(said)) => {
            let same = |a: &Name, b: &Name| a.to_string().eq_ignore_ascii_case(&b.to_string());
            same(&asked.qname, &said.qname) && asked.qtype == said.qtype
        }
        // As with an error.
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

/// A message as it goes over a connection (RFC 1035, 4.2.2). It must be
/// shorter than 64 KiB.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u16).to_be_bytes();
    [&length, message].concat()
}

/// Takes the first whole message out of what has come over a connection.
pub fn unframe(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = received.get(..2)?;
    let end = 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    let message = received.get(2..end)?.to_vec();
    received.drain(..end);
    Some(message)
}

/// What resolv.conf(5) says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers, at most three. Those of a link (`fe80::1%eth0`) are left
    /// out.
    pub servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the file's text; what is not understood is passed over, as the C
    /// library does. Without a server, the one of this machine is meant.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default();
            let words = words.take_while(|word| !word.starts_with(['#', ';']));
            let list = |words: &mut dyn Iterator<Item = &str>| words.map(str::to_owned).collect();
            let mut words = words;
            match keyword {
                "nameserver" if conf.servers.len() < 3 => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.servers.extend(address);
                }
                // Of several lines the last one counts.
                "search" | "domain" => conf.search = list(&mut words),
                "options" => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(std::net::Ipv4Addr::LOCALHOST.into());
        }
        conf
    }
}

#[cfg(test)]
mod tests;
