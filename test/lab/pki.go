package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLife is longer than any lab; certificates that OCM's agents ask for are signed by the cluster's
// controller manager, with its own life.
const certificateLife = 365 * 24 * time.Hour

// authority is a certificate authority whose certificate and key are files.
type authority struct {
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
}

// keyPair is a certificate and its key, PEM-encoded.
type keyPair struct{ cert, key []byte }

// loadOrCreateAuthority reads the authority in <path>.crt and .key, or makes it: a restarted lab keeps its own,
// since every kubeconfig depends on it.
func loadOrCreateAuthority(path, name string) (*authority, error) {
	certPEM, err := os.ReadFile(path + ".crt")
	if errors.Is(err, fs.ErrNotExist) {
		return createAuthority(path, name)
	}
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(path + ".key")
	if err != nil {
		return nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s.crt: %w", path, err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", path, err)
	}
	return &authority{cert: cert, key: key, certPEM: certPEM}, nil
}

func createAuthority(path, name string) (*authority, error) {
	template, err := newTemplate(pkix.Name{CommonName: name})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	pair, cert, key, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	// The key first: a lab interrupted in between makes both again.
	if err := errors.Join(writeFile(path+".key", pair.key), writeFile(path+".crt", pair.cert)); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, certPEM: pair.cert}, nil
}

// issue signs a certificate for a user and the groups it is in, or for a server and the names it has.
func (a *authority) issue(user string, groups, hosts []string) (keyPair, error) {
	template, err := newTemplate(pkix.Name{CommonName: user, Organization: groups})
	if err != nil {
		return keyPair{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	pair, _, _, err := sign(template, a)
	return pair, err
}

// issueTo writes the certificate as <path>.crt and .key, unless it is there.
func (a *authority) issueTo(path, user string, groups, hosts []string) error {
	if _, err := os.Stat(path + ".crt"); err == nil {
		return nil
	}
	pair, err := a.issue(user, groups, hosts)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", user, err)
	}
	return errors.Join(writeFile(path+".key", pair.key), writeFile(path+".crt", pair.cert))
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour), // clocks of containers may be behind
		NotAfter:     time.Now().Add(certificateLife),
	}, nil
}

// sign makes a key and its certificate, signed by the parent, or by itself if there is none.
func sign(template *x509.Certificate, parent *authority) (keyPair, *x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, nil, nil, err
	}
	if parent == nil {
		parent = &authority{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return keyPair{}, nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return keyPair{}, nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return keyPair{}, nil, nil, err
	}
	return keyPair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}, cert, key, nil
}
