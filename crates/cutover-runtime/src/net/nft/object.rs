//! Tables, chains, rules and sets as data, and the messages that make, ask for and delete them.

use super::expr::Expr;
use crate::net::netlink::{Attributes, Message, Reply, flags};

// linux/netfilter/nf_tables.h
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
const SET_IS_MAP: u32 = 8;
/// nft's numbers for the types of keys, 6 bits each; the kernel keeps them for its sake.
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
/// The kind of user data that nft shows as a comment.
const COMMENT: u8 = 0;
const SUBSYSTEM: u16 = 10;
const IPV4: u8 = 2;
/// Length of the `nfgenmsg` header.
pub(super) const NFGEN: usize = 4;

/// The maps from a published port to a container's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SetName {
    /// Published on one address of the host.
    PublishedOn,
    /// Published on all.
    Published,
}

/// A chain that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) hook: Hook,
    pub(super) priority: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: &'static str,
    pub(super) exprs: Vec<Expr>,
}

impl SetName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::PublishedOn => "published_on",
            Self::Published => "published",
        }
    }

    /// nft's number for the type of the key, and its length.
    fn key(self) -> (u32, u32) {
        match self {
            Self::PublishedOn => (TYPE_ADDRESS << 12 | TYPE_PROTOCOL << 6 | TYPE_PORT, 12),
            Self::Published => (TYPE_PROTOCOL << 6 | TYPE_PORT, 8),
        }
    }
}

pub(super) fn add_table(table: &str, comment: &str) -> Message {
    let mut message = message(NEWTABLE, flags::CREATE);
    message.text(NFTA_TABLE_NAME, table).bytes(NFTA_TABLE_USERDATA, &commented(comment));
    message
}

pub(super) fn delete_table(table: &str) -> Message {
    let mut message = message(DELTABLE, 0);
    message.text(NFTA_TABLE_NAME, table);
    message
}

pub(super) fn get_table(table: &str) -> Message {
    let mut message = message(GETTABLE, 0);
    message.text(NFTA_TABLE_NAME, table);
    message
}

/// The comment of a table that was asked for.
pub(super) fn table_comment(reply: &Reply) -> Option<String> {
    comment(reply.attributes(NFGEN).get(NFTA_TABLE_USERDATA)?)
}

pub(super) fn add_chain(table: &str, chain: &Chain) -> Message {
    let mut message = message(NEWCHAIN, flags::CREATE);
    message.text(NFTA_CHAIN_TABLE, table).text(NFTA_CHAIN_NAME, chain.name);
    message.nest(NFTA_CHAIN_HOOK, |hook| {
        hook.be32(NFTA_HOOK_HOOKNUM, chain.hook as u32);
        hook.be32(NFTA_HOOK_PRIORITY, chain.priority.cast_unsigned());
    });
    message.text(NFTA_CHAIN_TYPE, chain.kind).be32(NFTA_CHAIN_POLICY, 1);
    message
}

/// The families whose chains see IPv4 packets: `inet` and `ip`.
pub(super) const FAMILIES: [u8; 2] = [1, IPV4];

pub(super) fn list_chains(family: u8) -> Message {
    Message::new(SUBSYSTEM << 8 | GETCHAIN, 0, &[family, 0, 0, 0])
}

/// A chain of whatever table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundChain {
    /// Of family `ip`, not `inet`.
    pub(super) ipv4: bool,
    pub(super) table: String,
    pub(super) name: String,
    /// Hook number and whether packets are dropped by default, for a chain that the kernel calls.
    pub(super) hook: Option<(u32, bool)>,
}

pub(super) fn found_chain(reply: &Reply) -> Option<FoundChain> {
    let chain = reply.attributes(NFGEN);
    let hook = chain.nest(NFTA_CHAIN_HOOK).and_then(|hook| hook.be32(NFTA_HOOK_HOOKNUM));
    let drops = chain.be32(NFTA_CHAIN_POLICY) == Some(0);
    Some(FoundChain {
        ipv4: reply.body.first() == Some(&IPV4),
        table: chain.text(NFTA_CHAIN_TABLE)?,
        name: chain.text(NFTA_CHAIN_NAME)?,
        hook: hook.map(|hook| (hook, drops)),
    })
}

pub(super) fn append_rule(table: &str, rule: &Rule) -> Message {
    self::rule(table, rule.chain, &rule.exprs, flags::CREATE | flags::APPEND)
}

/// A rule before all others of the chain, marked with a comment to find it again.
pub(super) fn insert_rule(table: &str, chain: &str, exprs: &[Expr], comment: &str) -> Message {
    let mut message = rule(table, chain, exprs, flags::CREATE);
    message.bytes(NFTA_RULE_USERDATA, &commented(comment));
    message
}

fn rule(table: &str, chain: &str, exprs: &[Expr], flags: u16) -> Message {
    let mut message = message(NEWRULE, flags);
    message.text(NFTA_RULE_TABLE, table).text(NFTA_RULE_CHAIN, chain);
    message.nest(NFTA_RULE_EXPRESSIONS, |list| {
        for expr in exprs {
            expr.encode(list);
        }
    });
    message
}

pub(super) fn list_rules(table: &str) -> Message {
    let mut message = message(GETRULE, 0);
    message.text(NFTA_RULE_TABLE, table);
    message
}

/// A rule of whatever table that carries a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundRule {
    pub(super) chain: String,
    pub(super) handle: u64,
    pub(super) comment: String,
}

pub(super) fn found_rule(reply: &Reply) -> Option<FoundRule> {
    let rule: Attributes<'_> = reply.attributes(NFGEN);
    Some(FoundRule {
        chain: rule.text(NFTA_RULE_CHAIN)?,
        handle: rule.be64(NFTA_RULE_HANDLE)?,
        comment: comment(rule.get(NFTA_RULE_USERDATA)?)?,
    })
}

pub(super) fn delete_rule(table: &str, rule: &FoundRule) -> Message {
    let mut message = message(DELRULE, 0);
    message.text(NFTA_RULE_TABLE, table).text(NFTA_RULE_CHAIN, &rule.chain);
    message.bytes(NFTA_RULE_HANDLE, &rule.handle.to_be_bytes());
    message
}

pub(super) fn add_map(table: &str, set: SetName) -> Message {
    let (key_type, key_length) = set.key();
    let mut message = message(NEWSET, flags::CREATE);
    message.text(1, table).text(2, set.as_str()).be32(3, SET_IS_MAP);
    message.be32(4, key_type).be32(5, key_length);
    message.be32(6, TYPE_ADDRESS << 6 | TYPE_PORT).be32(7, 8);
    // within a transaction a set is known by name too, but the kernel insists on an id
    message.be32(10, set as u32 + 1);
    message
}

/// An nf_tables message for the family `ip`.
pub(super) fn message(kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[IPV4, 0, 0, 0])
}

fn commented(comment: &str) -> Vec<u8> {
    let text = comment.get(..comment.len().min(120)).unwrap_or_default();
    let length = u8::try_from(text.len() + 1).unwrap_or_default();
    [&[COMMENT, length], text.as_bytes(), &[0]].concat()
}

fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        data = next;
    }
    None
}
