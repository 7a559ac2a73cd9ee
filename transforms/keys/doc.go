// Package keys holds the keys of tokens and makes tokens with them.
//
// A keyset is opened once from its file and asked for a Domain by each worker
// and for each token domain:
//
//	keyset, err := keys.Open(path)
//	domain, err := keyset.Domain("warehouse")
//	token := domain.Token(schemas.Email, []byte("jane@example.com"))
//
// The same identifier in the same domain under the same keys is the same token
// on every worker and in every run. Tokens of different domains, kinds and
// epochs have nothing in common that could be seen without the keys, and no
// token is ever made without a key: a file that is missing, readable by others,
// damaged, or holds a weak key is an error.
//
// In the embedded default the keys lie in the file as cleartext, protected by
// the file's mode alone. FORMAT.md describes the file and the tokens.
package keys
