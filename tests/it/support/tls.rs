//! A server with TLS, and certificates for one test.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use super::server::{Server, free_port};

/// A CA. Only this value has its key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both in PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a CA"),
        }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with these names and addresses, for a server or a client.
    pub fn sign(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        // OpenSSL takes a certificate whose subject is its issuer's for self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, names.concat());
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The certificate files of a server, in a temporary directory.
pub struct Files {
    directory: TempDir,
}

impl Files {
    /// The files of a server with these names.
    pub fn of(authority: &Authority, names: &[&str]) -> Self {
        let directory = TempDir::with_prefix("tower-fred-").expect("a temporary directory");
        let identity = authority.sign(names);
        for (name, pem) in [
            ("ca", authority.pem()),
            ("certificate", identity.certificate),
            ("key", identity.key),
        ] {
            fs::write(directory.path().join(name), pem).expect("a file");
        }
        Self { directory }
    }

    /// The arguments for `redis-server` to serve TLS on `port`. Clients need no certificate.
    pub fn arguments(&self, port: u16) -> Vec<String> {
        let file = |name| self.directory.path().join(name).display().to_string();
        [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", file("ca")),
            ("--tls-cert-file", file("certificate")),
            ("--tls-key-file", file("key")),
            ("--tls-auth-clients", "no".into()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

/// A server with a TLS port and a plain port.
pub struct TlsServer {
    pub authority: Authority,
    pub plain: Server,
    pub port: u16,
    _files: Files,
}

impl TlsServer {
    /// Its certificate is for `localhost` and 127.0.0.1. Clients need no certificate.
    pub fn start() -> Self {
        Self::start_with(&["localhost", "127.0.0.1"], &[])
    }

    /// Its certificate is for `names`. `arguments` are more arguments of `redis-server`.
    pub fn start_with(names: &[&str], arguments: &[&str]) -> Self {
        let authority = Authority::new();
        let files = Files::of(&authority, names);
        let port = free_port();
        let words = files.arguments(port);
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied())
            .collect();
        Self {
            plain: Server::start_with(&words),
            authority,
            port,
            _files: files,
        }
    }

    pub fn url(&self) -> String {
        format!("rediss://localhost:{}", self.port)
    }
}
