"""Why something was not taken as it came: closed lists."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a record is refused as a whole."""

    # the record
    TOO_LARGE = "too_large"
    CORRUPT_BATCH = "corrupt_batch"
    NO_KEY = "no_key"
    KEY_MISMATCH = "key_mismatch"
    WRONG_PARTITION = "wrong_partition"
    TOMBSTONE = "tombstone"
    BAD_HEADERS = "bad_headers"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    # who sent it
    UNSIGNED = "unsigned"
    UNKNOWN_INSTANCE = "unknown_instance"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    REVOKED_KEY = "revoked_key"
    KEY_NOT_VALID = "key_not_valid"
    ENROLMENT_TAKEN = "enrolment_taken"
    RATE_LIMITED = "rate_limited"
    # the JSON
    BAD_UTF8 = "bad_utf8"
    BAD_JSON = "bad_json"
    TOO_DEEP = "too_deep"
    NOT_OBJECT = "not_object"
    DUPLICATE_KEY = "duplicate_key"
    NOT_FINITE = "not_finite"
    WRONG_TYPE = "wrong_type"
    INT_RANGE = "int_range"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    INVALID_VALUE = "invalid_value"
    # the report
    RAGGED_COLUMNS = "ragged_columns"
    TOO_MANY_ROWS = "too_many_rows"
    UNKNOWN_SCHEME = "unknown_scheme"
    # the sequence
    TOO_EARLY = "too_early"
    TOO_OLD = "too_old"


class RowReason(StrEnum):
    """Why a row of an otherwise acceptable report is refused; the first that applies."""

    BAD_SIGNATURE_ID = "bad_signature_id"
    BAD_PATTERN_TYPE = "bad_pattern_type"
    OUT_OF_RANGE = "out_of_range"
    DUPLICATE_SIGNATURE = "duplicate_signature"
    LOW_CERTAINTY = "low_certainty"
    LOW_QUALITY = "low_quality"


class DropReason(StrEnum):
    """Why an instance with an admitted report is not in a round's cohort."""

    NOT_ACTIVE = "not_active"
    REPORT_TOO_OLD = "report_too_old"
    NO_PATTERNS = "no_patterns"
    LOW_QUALITY = "low_quality"


class AbandonReason(StrEnum):
    """Why a round ended without a result."""

    BELOW_QUORUM = "below_quorum"
