package lab

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

func TestAKubeconfigStandsAloneAndItsUserIsKnownToTheCluster(t *testing.T) {
	_, c := newTestLab(t)
	c.ports = map[string]int{portAPIServer: 20123}
	path, err := c.identity("somebody")
	require.NoError(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	assert.Equal(t, "https://127.0.0.1:20123", config.Host)

	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	require.NoError(t, err)
	user, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	assert.Equal(t, "somebody", user.Subject.CommonName)
	assert.Equal(t, []string{systemMasters}, user.Subject.Organization)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(config.CAData))
	_, err = user.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	assert.NoError(t, err)
}

func TestAnIdentityIsMadeOnceAndForItsOwnerOnly(t *testing.T) {
	_, c := newTestLab(t)
	path, err := c.identity("somebody")
	require.NoError(t, err)
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = c.identity("somebody")
	require.NoError(t, err)
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, first, second)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAServerCertificateCarriesItsNames(t *testing.T) {
	ca, err := loadOrCreateAuthority(filepath.Join(t.TempDir(), "ca"), "test")
	require.NoError(t, err)
	pair, err := ca.issue("server", nil, []string{"127.0.0.1", "localhost"})
	require.NoError(t, err)
	loaded, err := tls.X509KeyPair(pair.cert, pair.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(loaded.Certificate[0])
	require.NoError(t, err)
	assert.NoError(t, cert.VerifyHostname("localhost"))
	assert.NoError(t, cert.VerifyHostname("127.0.0.1"))
	assert.Error(t, cert.VerifyHostname("elsewhere"))
}

func TestAnAuthorityIsLoadedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca")
	first, err := loadOrCreateAuthority(path, "test")
	require.NoError(t, err)
	second, err := loadOrCreateAuthority(path, "test")
	require.NoError(t, err)
	assert.Equal(t, first.certPEM, second.certPEM)
}
