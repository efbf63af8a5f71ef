//! TLS: the CAs to trust and the client certificate to show.

use std::{fmt, sync::Arc};

use fred::{
    rustls::{ClientConfig, RootCertStore, crypto::ring},
    rustls_native_certs::load_native_certs,
    types::config::{Config, TlsConfig, TlsConnector},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

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

    /// Adds TLS to the settings of a URL that asks for it. Refuses the settings here for a URL that does not.
    pub(crate) fn apply(&self, mut config: Config, asked: bool) -> Result<Config, Error> {
        if asked {
            config.tls = Some(self.config()?);
        } else {
            self.refuse("the URL does not ask for TLS")?;
        }
        Ok(config)
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

    fn config(&self) -> Result<TlsConfig, Error> {
        // The provider is named, since rustls has no default when the application has a second provider.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("no TLS version to use").caused_by(error))?
            .with_root_certificates(self.roots()?);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain()?, identity.key()?)
                .map_err(|error| {
                    Error::config("client_certificate: the key is not that of the certificate")
                        .caused_by(error)
                })?,
        };
        Ok(TlsConnector::from(config).into())
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

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_certificate", &self.ca.is_some())
            .field("client_certificate", &self.client.is_some())
            .finish()
    }
}
