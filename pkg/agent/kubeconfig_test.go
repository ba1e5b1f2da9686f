package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// patience is how long what must happen may take.
const patience = 30 * time.Second

// accessTest runs an agent, which the test holds in its hand, with the kubeconfig of a folder.
type accessTest struct {
	t       *testing.T
	started chan *rest.Config
	cancel  context.CancelFunc
	done    chan error
}

func startWithKubeconfig(t *testing.T, folder string) *accessTest {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := &accessTest{t: t, started: make(chan *rest.Config, 1), cancel: cancel, done: make(chan error, 1)}
	access := hubAccess{kubeconfig: filepath.Join(folder, "kubeconfig"), interval: time.Millisecond}
	go func() {
		a.done <- access.run(ctx, func(ctx context.Context, config *rest.Config) error {
			a.started <- config
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	return a
}

// start requires that the agent starts, and returns its access to the hub.
func (a *accessTest) start() *rest.Config {
	a.t.Helper()
	select {
	case config := <-a.started:
		return config
	case <-time.After(patience):
		require.FailNow(a.t, "the agent does not start")
		return nil
	}
}

// write puts a file there in one piece, as a Secret's volume does.
func write(t *testing.T, folder, name string, content []byte) {
	t.Helper()
	path := filepath.Join(folder, name)
	require.NoError(t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// writeKubeconfig writes a kubeconfig as OCM does: it refers to the other files by relative paths.
func writeKubeconfig(t *testing.T, folder string, hub *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) {
	t.Helper()
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["hub"] = hub
	kubeconfig.AuthInfos["agent"] = user
	kubeconfig.Contexts["hub"] = &clientcmdapi.Context{Cluster: "hub", AuthInfo: "agent"}
	kubeconfig.CurrentContext = "hub"
	content, err := clientcmd.Write(*kubeconfig)
	require.NoError(t, err)
	write(t, folder, "kubeconfig", content)
}

// writeKeyPair writes a certificate in this name, and its key.
func writeKeyPair(t *testing.T, folder, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	write(t, folder, "tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	write(t, folder, "tls.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}))
}

func TestTheAgentGoesOnWithARotatedCertificate(t *testing.T) {
	hub := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	hub.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	hub.StartTLS()
	t.Cleanup(hub.Close)
	folder := t.TempDir()
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: hub.URL, InsecureSkipTLSVerify: true},
		&clientcmdapi.AuthInfo{ClientCertificate: "tls.crt", ClientKey: "tls.key"})
	writeKeyPair(t, folder, "first")
	a := startWithKubeconfig(t, folder)
	c, err := rest.HTTPClientFor(a.start())
	require.NoError(t, err)
	user := func() string {
		hub.CloseClientConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, hub.URL, http.NoBody)
		require.NoError(t, err)
		response, err := c.Do(request)
		if err != nil {
			return err.Error()
		}
		body, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		return string(body)
	}
	assert.Equal(t, "first", user())
	writeKeyPair(t, folder, "second")
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, "second", user()) }, patience, 10*time.Millisecond)
	a.cancel()
	require.ErrorIs(t, <-a.done, context.Canceled, "the agent has run all the time")
}

func TestATokenInAFileIsReadAnewByTheClients(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://hub.example.com"}, &clientcmdapi.AuthInfo{TokenFile: "token"})
	write(t, folder, "token", []byte("token"))
	a := startWithKubeconfig(t, folder)
	assert.Equal(t, filepath.Join(folder, "token"), a.start().BearerTokenFile)
}

func TestTheAgentEndsWhenTheHubMoves(t *testing.T) {
	folder := t.TempDir()
	user := &clientcmdapi.AuthInfo{Token: "token"}
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://old.example.com"}, user)
	a := startWithKubeconfig(t, folder)
	assert.Equal(t, "https://old.example.com", a.start().Host)
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://new.example.com"}, user)
	err := <-a.done
	require.ErrorIs(t, err, errKubeconfigChanged)
	require.NotErrorIs(t, err, context.Canceled, "which would be an exit without an error")
}

func TestTheAgentWaitsForAKubeconfigThatIsNotThereYet(t *testing.T) {
	folder := t.TempDir()
	a := startWithKubeconfig(t, folder)
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://hub.example.com"}, &clientcmdapi.AuthInfo{TokenFile: "token"})
	write(t, folder, "token", []byte("token"))
	assert.Equal(t, "https://hub.example.com", a.start().Host)
}

func TestTheAgentGoesOnWithAKubeconfigThatIsOfNoUse(t *testing.T) {
	folder := t.TempDir()
	user := &clientcmdapi.AuthInfo{Token: "token"}
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://hub.example.com"}, user)
	kubeconfig, _, err := loadKubeconfig(filepath.Join(folder, "kubeconfig"))
	require.NoError(t, err)
	for name, change := range map[string]func(){
		"vanished":     func() { require.NoError(t, os.Remove(filepath.Join(folder, "kubeconfig"))) },
		"empty":        func() { write(t, folder, "kubeconfig", nil) },
		"half-written": func() { write(t, folder, "kubeconfig", []byte("apiVersion: v1\nkind: Con")) },
		"without its file": func() {
			writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://new"}, &clientcmdapi.AuthInfo{TokenFile: "none"})
		},
		"the same, written anew": func() {
			writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://hub.example.com"}, user)
		},
	} {
		change()
		access := hubAccess{kubeconfig: filepath.Join(folder, "kubeconfig")}
		assert.False(t, access.isNew(kubeconfig), name)
	}
}

func TestWaitingForAKubeconfigEndsWithTheContext(t *testing.T) {
	a := startWithKubeconfig(t, t.TempDir())
	a.cancel()
	require.NoError(t, <-a.done)
}

func TestAnAgentThatFailsIsNotStartedAgain(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, &clientcmdapi.Cluster{Server: "https://hub.example.com"}, &clientcmdapi.AuthInfo{Token: "token"})
	failure := errors.New("leader election lost")
	access := hubAccess{kubeconfig: filepath.Join(folder, "kubeconfig"), interval: time.Hour}
	err := access.run(t.Context(), func(context.Context, *rest.Config) error { return failure })
	require.ErrorIs(t, err, failure)
}

func TestAnEmptyKubeconfigIsNotTakenForTheOneOfThePod(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, _, err := loadKubeconfig(path)
	require.Error(t, err)
}
