//! The cluster's own certificate authority, and a certificate for each part that speaks with the API server. Nobody
//! else trusts it, and it goes with the cluster's folder.

use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::place::{DOMAIN, NODE, Place};

/// How long a cluster for tests may be up.
const VALID: Duration = Duration::days(90);

/// Clocks of programs may differ a little.
const BEFORE: Duration = Duration::minutes(5);

/// Somebody who speaks with the API server, or serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The name of its files.
    pub file: &'static str,
    /// The user, as the API server sees it.
    pub user: String,
    /// The user's group.
    pub group: &'static str,
    /// The names and addresses that it serves.
    pub serves: Vec<String>,
}

/// Everybody who has a certificate. The groups are those that Kubernetes' own roles are bound to.
pub fn subjects(place: &Place) -> Vec<Subject> {
    let client = |file, user: &str, group| Subject { file, user: user.to_owned(), group, serves: vec![] };
    let (node, service) = (place.node().to_string(), place.api_service().to_string());
    let mut serves: Vec<String> = ["localhost", "127.0.0.1"].map(str::to_owned).into();
    serves.extend([node.clone(), service, NODE.to_owned()]);
    let short = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    serves.extend(short.map(str::to_owned));
    serves.push(format!("kubernetes.default.svc.{DOMAIN}"));
    vec![
        Subject { serves, ..client("apiserver", "kube-apiserver", "") },
        Subject { serves: vec![NODE.to_owned(), node], ..client("kubelet-server", NODE, "") },
        client("admin", "xtask-admin", "system:masters"),
        client("apiserver-to-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
        client("controller-manager", "system:kube-controller-manager", ""),
        client("scheduler", "system:kube-scheduler", ""),
        client("kubelet", &format!("system:node:{NODE}"), "system:nodes"),
        client("proxy", "system:kube-proxy", ""),
        client("dns", "xtask:dns", ""),
    ]
}

/// Writes all of it into `folder`: `ca.crt`, `FILE.crt` and `FILE.key` of each subject, and the pair that signs the
/// tokens of service accounts.
pub fn write(place: &Place, folder: &Path, now: OffsetDateTime) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut params = params("xtask-cluster", "", now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(params, key()?).context("cannot sign the cluster's authority")?;
    save(folder, "ca.crt", &ca.pem())?;
    for subject in subjects(place) {
        let key = key()?;
        let certificate = of(&subject, now)?.signed_by(&key, &ca).context("cannot sign a certificate")?;
        save(folder, &format!("{}.crt", subject.file), &certificate.pem())?;
        save(folder, &format!("{}.key", subject.file), &key.serialize_pem())?;
    }
    let accounts = key()?;
    save(folder, "accounts.key", &accounts.serialize_pem())?;
    save(folder, "accounts.pub", &accounts.public_key_pem())
}

fn key() -> Result<KeyPair> {
    KeyPair::generate().context("cannot make a key")
}

fn params(user: &str, group: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if !group.is_empty() {
        name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name = name;
    (params.not_before, params.not_after) = (now - BEFORE, now + VALID);
    params
}

fn of(subject: &Subject, now: OffsetDateTime) -> Result<CertificateParams> {
    let named = CertificateParams::new(subject.serves.clone()).context("a name that cannot be served")?;
    let mut params = params(&subject.user, subject.group, now);
    params.subject_alt_names = named.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !subject.serves.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    Ok(params)
}

/// Only its owner may read a key.
fn save(folder: &Path, name: &str, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(name);
    let cannot = || format!("cannot write `{}`", path.display());
    let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&path)
        .with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_certificate_and_no_key_is_for_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let place = Place { folder: folder.path().to_owned(), slot: 1, registry: 5000 };
        write(&place, folder.path(), OffsetDateTime::now_utc()).unwrap();
        for subject in subjects(&place) {
            let certificate = std::fs::read_to_string(folder.path().join(format!("{}.crt", subject.file))).unwrap();
            assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");
            let key = folder.path().join(format!("{}.key", subject.file));
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let public = std::fs::read_to_string(folder.path().join("accounts.pub")).unwrap();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"), "{public}");
    }

    #[test]
    fn the_api_server_is_known_by_each_of_its_names() {
        let place = Place { folder: "/c".into(), slot: 1, registry: 5000 };
        let api = subjects(&place).into_iter().find(|subject| subject.file == "apiserver").unwrap();
        for name in
            ["127.0.0.1", "198.18.6.2", "198.18.5.1", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        {
            assert!(api.serves.iter().any(|served| served == name), "{name} is not in {:?}", api.serves);
        }
    }
}
