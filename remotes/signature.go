package remotes

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// errUnsigned is what a document without a valid signature gives.
var errUnsigned = errors.New("no key of the remote's keyring has signed it")

// parseKeyring reads OpenPGP public keys (RFC 9580), armored or not.
func parseKeyring(raw []byte) (openpgp.EntityList, error) {
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("cannot read the keyring: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("cannot read the keyring: it holds no key")
	}
	return keys, nil
}

// KeyFingerprints are the fingerprints of the remote's keyring, in hex, sorted; nil without one.
func (r Remote) KeyFingerprints() ([]string, error) {
	if len(r.Keyring) == 0 {
		return nil, nil
	}
	keys, err := parseKeyring(r.Keyring)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%X", k.PrimaryKey.Fingerprint))
	}
	slices.Sort(out)
	return out, nil
}

// documentPath is the path of a catalogue's document: the signed form, FILE.sjson beside FILE.json, for a remote with a
// keyring.
func (c *Client) documentPath(p string) string {
	if c.keys == nil {
		return p
	}
	if stem, ok := strings.CutSuffix(p, ".json"); ok {
		return stem + ".sjson"
	}
	return p
}

// verified gives the text of a document: as it is, or, for a remote with a keyring, what one of its keys has signed (a
// cleartext signature, RFC 9580, section 7). What stands around the signed text is dropped.
func (c *Client) verified(body []byte) ([]byte, error) {
	if c.keys == nil {
		return body, nil
	}
	block, _ := clearsign.Decode(body)
	if block == nil {
		return nil, errUnsigned
	}
	config := &packet.Config{Time: time.Now}
	if _, err := block.VerifySignature(c.keys, config); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnsigned, err)
	}
	return block.Plaintext, nil
}
