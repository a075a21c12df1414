//! Containers: records, supervision, and the making of OCI specs.
