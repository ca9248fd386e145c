//! Basic auth. A bcrypt check takes at least 100 ms of CPU time by design, so passwords are checked one at a time on a blocking thread.
//! So that guesses delay no other client, correct passwords are remembered, and each client may have only a few passwords waiting.

use super::web_config::PasswordHash;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A user can have many accepted passwords, because bcrypt compares only the first 72 bytes.
const MAX_VERIFIED: usize = 1_000;
/// The maximum number of passwords of one client that wait or are checked. Enough for all scrapers behind one proxy that start together.
const MAX_PENDING_PER_CLIENT: usize = 8;
/// The place of the two digits of the cost in a hash, such as `$2y$10$…`.
const COST: Range<usize> = 4..6;

/// An IPv4 address, or the /64 network of an IPv6 address, since one owner usually has all of it. `None` stands for all Unix sockets.
type Client = Option<IpAddr>;

#[derive(Debug)]
pub struct BasicAuth {
    /// A random key of this process, which keeps passwords out of memory.
    key: hmac::Key,
    verified: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    /// Allows one check at a time, in the order of arrival.
    hashing: Arc<Semaphore>,
    pending: Mutex<BTreeMap<Client, Arc<Semaphore>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    RateLimited,
    Unauthorized,
    /// Too many passwords of this client are waiting to be checked.
    Busy,
}

impl BasicAuth {
    pub fn new() -> Result<Self, Unspecified> {
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?,
            verified: Arc::default(),
            hashing: Arc::new(Semaphore::new(1)),
            pending: Mutex::default(),
        })
    }

    /// Checks whether a request from `peer` has the credentials of one of `users`, which must not be empty.
    pub async fn check(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let (user, password) = credentials(headers).ok_or(Refusal::Unauthorized)?;
        let known_hash = str::from_utf8(&user).ok().and_then(|user| users.get(user));
        // For an unknown user the slowest hash is checked, so that the response time does not reveal which users exist.
        let slowest = || users.values().max_by_key(|hash| hash.expose().get(COST));
        let hash = known_hash.or_else(slowest);
        let hash = hash.ok_or(Refusal::Unauthorized)?;
        let is_known = known_hash.is_some();
        let key = self.sign(&[&user, hash.expose().as_bytes(), &password]);
        if is_known && self.verified.lock().contains(&key) {
            return Ok(());
        }
        let pending = self.pending_permit(client(peer));
        let pending = pending.ok_or(Refusal::Busy)?;
        let permit = Arc::clone(&self.hashing).acquire_owned().await;
        let (hash, verified) = (hash.clone(), Arc::clone(&self.verified));
        // The check finishes even if the client has disconnected. So if a check takes longer than the scrape timeout, the next
        // scrape finds the password remembered.
        let checked = tokio::task::spawn_blocking(move || {
            let _guards = (permit, pending);
            let is_correct = bcrypt::verify(&password, hash.expose()).unwrap_or(false);
            if is_correct && is_known {
                let mut verified = verified.lock();
                if verified.len() >= MAX_VERIFIED {
                    verified.clear();
                }
                verified.insert(key);
            }
            is_correct && is_known
        });
        let is_correct = checked.await.unwrap_or(false);
        is_correct.then_some(()).ok_or(Refusal::Unauthorized)
    }

    fn pending_permit(&self, client: Client) -> Option<OwnedSemaphorePermit> {
        let mut pending = self.pending.lock();
        pending.retain(|_, permits| permits.available_permits() < MAX_PENDING_PER_CLIENT);
        let new = || Arc::new(Semaphore::new(MAX_PENDING_PER_CLIENT));
        let permits = pending.entry(client).or_insert_with(new);
        Arc::clone(permits).try_acquire_owned().ok()
    }

    fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

fn client(peer: Option<IpAddr>) -> Client {
    match peer? {
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}

/// Returns the user and the password of the first `Authorization` header, with the rules of Go's net/http.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}
