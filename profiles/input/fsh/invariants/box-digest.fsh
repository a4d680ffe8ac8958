Invariant: box-digest
Description: "The digest is SHA-256 in lower-case hexadecimal."
Severity: #error
Expression: "extension.where(url = 'imageSha256').value.first().matches('^[0-9a-f]{64}$')"
