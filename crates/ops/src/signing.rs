//! Who signs here, and whose signatures count: `[keys] signing` and `signers` of the configuration.

use crate::secret;
use crate::session::Session;
use recoup_core::attest::NAMESPACE;
use recoup_core::crypto::{Signer, SigningKey};
use recoup_core::event::{Finding, Severity};
use recoup_core::{Error, Kind, Result};

/// What signs and what is trusted.
pub struct Signing {
    /// The key of this machine. Without it nothing can be signed here, and everything can be checked.
    pub key: Option<SigningKey>,
    /// Whose signatures count.
    pub trusted: Vec<Signer>,
    /// Why there is no key, and what was noticed about it.
    pub findings: Vec<Finding>,
}

/// The signers of the application; `None` if it declares none.
///
/// A key that is missing or is not the declared one is a finding, never an error: data that cannot be signed
/// is still stored.
///
/// # Errors
/// If a key that is there cannot sign.
pub async fn signing(session: &Session) -> Result<Option<Signing>> {
    let Some(keys) = &session.config().keys else { return Ok(None) };
    if keys.signing.is_none() && keys.signers.is_empty() {
        return Ok(None);
    }
    let mut signing = Signing { key: None, trusted: keys.signers.clone(), findings: Vec::new() };
    let Some(reference) = &keys.signing else {
        let error = Error::new(Kind::NotFound, "sign: [keys] names no `signing` key for this machine");
        signing.findings.push(unsigned(session, &error));
        return Ok(Some(signing));
    };
    let loaded = session.loaded();
    let read = secret::resolve(reference, &loaded.root, &loaded.variables).await;
    let key = read.and_then(|resolved| {
        signing.findings.extend(resolved.findings);
        SigningKey::decode(&resolved.secret).map_err(|e| e.with("kept in", reference))
    });
    match key {
        Err(error) => signing.findings.push(unsigned(session, &error)),
        Ok(key) if signing.trusted.is_empty() => {
            signing.trusted.push(key.signer());
            signing.key = Some(key);
        }
        Ok(key) if signing.trusted.contains(&key.signer()) => signing.key = Some(key),
        Ok(key) => {
            let error = Error::new(Kind::Refused, "sign: the key of this machine is not among `signers`")
                .with("key", key.signer().fingerprint());
            signing.findings.push(unsigned(session, &error));
        }
    }
    if let Some(key) = &signing.key {
        // A key that signs what it cannot verify is broken memory or a broken file.
        let probe = key.sign(NAMESPACE, b"")?;
        key.signer().verify(NAMESPACE, b"", probe.as_bytes())?;
    }
    Ok(Some(signing))
}

fn unsigned(session: &Session, error: &Error) -> Finding {
    Finding::new(
        "E0823",
        Severity::High,
        session.app(),
        format!("nothing can be signed on this machine: {error}"),
        "put the signing key back, or make one with `recoup keys add signing` and list it under `signers`",
    )
}
