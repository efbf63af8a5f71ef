//! TLS: the CAs to trust and the client certificate to show.

use std::{fmt, sync::Arc};

use fred::{
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
        SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::ring,
    },
    rustls_native_certs::load_native_certs,
    types::config::{Server, TlsConfig, TlsConnector},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use crate::error::Error;

/// The PEM texts as they were given. They are parsed when the builder connects.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    ca: Option<Vec<u8>>,
    client: Option<Identity>,
}

#[derive(Clone)]
struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Trusts servers whose certificate one of these CAs signed, in place of the platform's root certificates.
    pub(crate) fn set_ca(&mut self, pem: &[u8]) {
        self.ca = Some(pem.to_vec());
    }

    /// Sets the certificate that a server is shown, and its private key.
    pub(crate) fn set_identity(&mut self, certificate: &[u8], key: &[u8]) {
        self.client = Some(Identity {
            certificate: certificate.to_vec(),
            key: key.to_vec(),
        });
    }

    /// What connections to these hosts need if the URL asks for TLS. Refuses the settings here for a URL that does not.
    pub(crate) fn trust(&self, asked: bool, hosts: &[Server]) -> Result<Option<Trust>, Error> {
        if asked {
            return self.for_hosts(hosts).map(Some);
        }
        self.refuse("the URL does not ask for TLS")?;
        Ok(None)
    }

    /// Refuses settings that have no effect, for the reason `why`: the application expects an encrypted connection.
    pub(crate) fn refuse(&self, why: &str) -> Result<(), Error> {
        let setting = match self {
            Self { ca: Some(_), .. } => "ca_certificate",
            Self {
                client: Some(_), ..
            } => "client_certificate",
            _ => return Ok(()),
        };
        Err(Error::config(format!("{setting} has no effect: {why}")))
    }

    fn for_hosts(&self, hosts: &[Server]) -> Result<Trust, Error> {
        let roots = Arc::new(self.roots()?);
        // The provider is named, since rustls has no default when the application has a second provider.
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| Error::config("no certificate to trust").caused_by(error))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("no TLS version to use").caused_by(error))?
            .with_root_certificates(roots);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain()?, identity.key()?)
                .map_err(|error| {
                    Error::config("client_certificate: the key is not that of the certificate")
                        .caused_by(error)
                })?,
        };
        let hosts = hosts.iter().map(|server| server.host.to_string()).collect();
        Ok(Trust {
            config,
            verifier,
            hosts,
        })
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        let Some(pem) = &self.ca else {
            // Certificates that cannot be read are left out.
            roots.add_parsable_certificates(load_native_certs().certs);
            if roots.is_empty() {
                return Err(Error::config(
                    "the platform has no root certificates: set ca_certificate",
                ));
            }
            return Ok(roots);
        };
        for certificate in certificates(pem, "ca_certificate")? {
            roots.add(certificate).map_err(|error| {
                Error::config("ca_certificate holds an invalid certificate").caused_by(error)
            })?;
        }
        Ok(roots)
    }
}

impl Identity {
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates(&self.certificate, "client_certificate")
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        // Without its cause, which could quote the key.
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            Error::config("client_certificate: the key is not a PEM private key without passphrase")
        })
    }
}

fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found
        .map_err(|error| Error::config(format!("{setting} is not valid PEM")).caused_by(error))?;
    if found.is_empty() {
        return Err(Error::config(format!("{setting} holds no PEM certificate")));
    }
    Ok(found)
}

/// Which certificates the servers of one URL may show.
#[derive(Clone)]
pub(crate) struct Trust {
    config: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
    /// Those that the URL names.
    hosts: Vec<String>,
}

impl Trust {
    /// fred's settings for a server with these names. Its certificate is for the name that a connection asks for, or else
    /// for one of `names`, or for a host of the URL: the servers of a cluster name each other by address, and their
    /// certificates may be for the one name that clients know.
    pub(crate) fn settings(&self, names: &[&str]) -> TlsConfig {
        let hosts = self.hosts.iter().map(String::as_str);
        let names = names.iter().copied().chain(hosts);
        let verifier = AnyName {
            verifier: Arc::clone(&self.verifier),
            others: names
                .filter_map(|name| ServerName::try_from(name.to_owned()).ok())
                .collect(),
        };
        let mut config = self.config.clone();
        // Nothing is verified less: every certificate goes through rustls's own verifier, with one name or another.
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        TlsConnector::from(config).into()
    }

    /// The name that a server at an address is asked for by, if it is not the address: its own, or the one in the URL.
    pub(crate) fn name_of(&self, own: Option<&str>) -> Option<String> {
        let is_name =
            |host: &&str| matches!(ServerName::try_from(*host), Ok(ServerName::DnsName(_)));
        let mut names = own.into_iter().chain(self.hosts.iter().map(String::as_str));
        names.find(is_name).map(str::to_owned)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Accepts a certificate that is valid for any one of a server's names.
#[derive(Debug)]
struct AnyName {
    verifier: Arc<WebPkiServerVerifier>,
    others: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verify = |name: &ServerName<'_>| {
            let verifier = &self.verifier;
            verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        let first = verify(server_name);
        if !first.as_ref().is_err_and(is_of_the_name) {
            return first;
        }
        self.others
            .iter()
            .find_map(|name| verify(name).ok())
            .map_or(first, Ok)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn is_of_the_name(error: &TlsError) -> bool {
    matches!(
        error,
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_certificate", &self.ca.is_some())
            .field("client_certificate", &self.client.is_some())
            .finish()
    }
}
