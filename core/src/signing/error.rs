//! Why a signature, a key or what it covers was refused.
//!
//! One variant per thing that can be wrong, so that a client can count and alarm on each. Variants carry nothing: no key
//! and no byte of an unverified document reaches a log through them.

/// A refusal. The names of the variants are stable: `tests/vectors/` refers to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VerifyError {
    /// Not three parts of a compact JWS (RFC 7515 §7.1).
    #[error("token does not have three parts")]
    TokenMalformed,
    /// A part is not canonical base64url without padding (RFC 7515 §2, RFC 4648 §3.5).
    #[error("token is not canonical base64url without padding")]
    Base64Malformed,
    /// The protected header is over `limits::JWS_HEADER_MAX_BYTES`.
    #[error("header is too large")]
    HeaderTooLarge,
    /// The header is not one JSON object of exactly the texts `alg`, `kid` and `typ`.
    #[error("header is not exactly alg, kid and typ")]
    HeaderMalformed,
    /// The payload is over `limits::STATEMENT_MAX_BYTES`.
    #[error("payload is too large")]
    PayloadTooLarge,
    /// `typ` names another kind of object (RFC 8725 §3.11).
    #[error("typ is not the expected one")]
    TypeMismatch,
    /// `alg` is neither `EdDSA` nor `ES256`.
    #[error("algorithm is not supported")]
    AlgorithmUnsupported,
    /// No key with this `kid` is known.
    #[error("key is not known")]
    KeyUnknown,
    /// Trust in the key with this `kid` ended.
    #[error("key is revoked")]
    KeyRevoked,
    /// `alg` is not the key's own algorithm (RFC 8725 §3.1).
    #[error("algorithm is not that of the key")]
    AlgorithmMismatch,
    /// The signature does not verify, or does not have 64 bytes.
    #[error("signature does not verify")]
    SignatureInvalid,
    /// The payload verified and can't be read as the object that `typ` names.
    #[error("payload is malformed")]
    PayloadMalformed,
    /// The content is over `limits::CONTENT_MAX_BYTES`.
    #[error("content is too large")]
    ContentTooLarge,
    /// The content does not have the signed number of bytes.
    #[error("content does not have the signed size")]
    SizeMismatch,
    /// The content does not have the signed digest.
    #[error("content does not have the signed digest")]
    DigestMismatch,
    /// The checkpoint has expired: the stream it came over may be frozen.
    #[error("checkpoint has expired")]
    Stale,
    /// The checkpoint was made in the future, beyond the tolerated skew.
    #[error("checkpoint comes from the future")]
    FromFuture,
    /// The checkpoint is valid for no time, or for longer than `limits::CHECKPOINT_TTL_SECONDS`.
    #[error("checkpoint has a lifetime that is not allowed")]
    LifetimeInvalid,
    /// A JWK lacks a member, repeats one, or holds a coordinate that is not 32 canonical base64url bytes.
    #[error("key is malformed")]
    KeyMalformed,
    /// A JWK is neither OKP with Ed25519 nor EC with P-256, or is not meant for signatures.
    #[error("key type is not supported")]
    KeyUnsupported,
    /// A JWK carries private members: it leaked, and nothing it signed proves anything.
    #[error("key carries private members")]
    KeyNotPublic,
    /// The `alg` of a JWK is not the one of its type.
    #[error("algorithm of the key is not that of its type")]
    KeyAlgorithmMismatch,
    /// The `kid` of a JWK is not its thumbprint (RFC 7638).
    #[error("key id is not the thumbprint of the key")]
    KeyIdMismatch,
    /// A JWKS is over `JWKS_MAX_BYTES` or has more than `JWKS_MAX_KEYS` keys.
    #[error("key set is too large")]
    KeySetTooLarge,
    /// A JWKS is not a JSON object with one array `keys`.
    #[error("key set is malformed")]
    KeySetMalformed,
    /// A key statement is signed by a key that is not the active one of the newest statement held, or of this one.
    #[error("key may not sign key statements: it is not the active one")]
    KeyNotActive,
    /// The first key statement for these pinned keys does not name each of them: it may be older than they are.
    #[error("key statement does not name every pinned key: it may be from before them")]
    PinNotStated,
    /// A key statement has the serial of the one held, and says something else.
    #[error("another key statement was taken under the same serial")]
    SerialReused,
    /// A key statement is of another store.
    #[error("key statement is of another store")]
    StoreMismatch,
}
