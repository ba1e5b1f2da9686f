package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
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

// rotationTest runs a rotation whose ticks and whose agent the test holds in its hand.
type rotationTest struct {
	t       *testing.T
	folder  string
	ticks   chan time.Time
	started chan *rest.Config
	stopped chan struct{}
	cancel  context.CancelFunc
	done    chan error
}

func startRotation(t *testing.T, folder string) *rotationTest {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &rotationTest{
		t: t, folder: folder, ticks: make(chan time.Time), cancel: cancel,
		started: make(chan *rest.Config), stopped: make(chan struct{}), done: make(chan error, 1),
	}
	rotated := rotation{kubeconfig: filepath.Join(folder, "kubeconfig"), tick: r.ticks}
	go func() {
		r.done <- rotated.run(ctx, func(ctx context.Context, config *rest.Config) error {
			r.started <- config
			<-ctx.Done()
			r.stopped <- struct{}{}
			return nil
		})
	}()
	return r
}

// look makes the rotation look at the files twice: the first look is over when the second tick is taken. The agent is
// required to go on.
func (r *rotationTest) look() {
	r.t.Helper()
	for range 2 {
		select {
		case r.ticks <- time.Time{}:
		case <-r.stopped:
			require.FailNow(r.t, "the agent was stopped")
		}
	}
}

// restart makes the rotation look at the files until it stops the agent, and returns what the next one is started with.
func (r *rotationTest) restart() *rest.Config {
	for {
		select {
		case r.ticks <- time.Time{}:
		case <-r.stopped:
			return <-r.started
		}
	}
}

// finish cancels the rotation while the agent runs, and requires that it ends without an error.
func (r *rotationTest) finish() {
	r.t.Helper()
	r.cancel()
	<-r.stopped
	require.NoError(r.t, <-r.done)
}

// write puts a file there in one piece, as a Secret's volume does.
func write(t *testing.T, folder, name string, content []byte) {
	t.Helper()
	path := filepath.Join(folder, name)
	require.NoError(t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func writeToken(t *testing.T, folder, token string) {
	t.Helper()
	write(t, folder, "token", []byte(token+"\n"))
}

// writeKubeconfig writes a kubeconfig as OCM does: it refers to the other files by relative paths.
func writeKubeconfig(t *testing.T, folder, server string, user *clientcmdapi.AuthInfo) {
	t.Helper()
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["hub"] = &clientcmdapi.Cluster{Server: server}
	kubeconfig.AuthInfos["agent"] = user
	kubeconfig.Contexts["hub"] = &clientcmdapi.Context{Cluster: "hub", AuthInfo: "agent"}
	kubeconfig.CurrentContext = "hub"
	content, err := clientcmd.Write(*kubeconfig)
	require.NoError(t, err)
	write(t, folder, "kubeconfig", content)
}

func writeKeyPair(t *testing.T, folder string) (writeCertificate, writeKey func()) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	writer := func(name, kind string, content []byte) func() {
		return func() { write(t, folder, name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})) }
	}
	return writer("tls.crt", "CERTIFICATE", certificate), writer("tls.key", "EC PRIVATE KEY", private)
}

func TestTheAgentStartsAnewWhenItsTokenIsRotated(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, "https://hub.example.com", &clientcmdapi.AuthInfo{TokenFile: "token"})
	writeToken(t, folder, "first")
	r := startRotation(t, folder)
	assert.Equal(t, "first", (<-r.started).BearerToken)
	r.look()
	writeToken(t, folder, "second")
	config := r.restart()
	assert.Equal(t, "second", config.BearerToken)
	assert.Empty(t, config.BearerTokenFile, "what was read does not change under the agent")
	r.finish()
}

func TestTheAgentStartsAnewWhenTheHubMoves(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, "https://old.example.com", &clientcmdapi.AuthInfo{Token: "token"})
	r := startRotation(t, folder)
	assert.Equal(t, "https://old.example.com", (<-r.started).Host)
	writeKubeconfig(t, folder, "https://new.example.com", &clientcmdapi.AuthInfo{Token: "token"})
	assert.Equal(t, "https://new.example.com", r.restart().Host)
	r.finish()
}

func TestACertificateWithoutItsKeyIsNotUsedYet(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, "https://hub.example.com", &clientcmdapi.AuthInfo{ClientCertificate: "tls.crt", ClientKey: "tls.key"})
	certificate, key := writeKeyPair(t, folder)
	certificate()
	key()
	r := startRotation(t, folder)
	first := <-r.started
	newCertificate, newKey := writeKeyPair(t, folder)
	newCertificate()
	r.look()
	newKey()
	second := r.restart()
	assert.NotEqual(t, first.CertData, second.CertData)
	assert.NotEmpty(t, second.KeyData)
	r.finish()
}

func TestTheAgentWaitsForAKubeconfigThatIsNotThereYet(t *testing.T) {
	folder := t.TempDir()
	r := startRotation(t, folder)
	r.look()
	writeKubeconfig(t, folder, "https://hub.example.com", &clientcmdapi.AuthInfo{TokenFile: "token"})
	r.look() // the token is still missing
	writeToken(t, folder, "token")
	r.look()
	assert.Equal(t, "https://hub.example.com", (<-r.started).Host)
	r.finish()
}

func TestTheAgentGoesOnWhenItsKubeconfigVanishes(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, "https://hub.example.com", &clientcmdapi.AuthInfo{Token: "token"})
	r := startRotation(t, folder)
	<-r.started
	require.NoError(t, os.Remove(filepath.Join(folder, "kubeconfig")))
	r.look()
	r.finish()
}

func TestWaitingForAKubeconfigEndsWithTheContext(t *testing.T) {
	r := startRotation(t, t.TempDir())
	r.look()
	r.cancel()
	require.NoError(t, <-r.done)
}

func TestAnAgentThatFailsIsNotStartedAgain(t *testing.T) {
	folder := t.TempDir()
	writeKubeconfig(t, folder, "https://hub.example.com", &clientcmdapi.AuthInfo{Token: "token"})
	failure := errors.New("leader election lost")
	calls := 0
	err := rotation{kubeconfig: filepath.Join(folder, "kubeconfig")}.run(t.Context(), func(context.Context, *rest.Config) error {
		calls++
		return failure
	})
	require.ErrorIs(t, err, failure)
	assert.Equal(t, 1, calls)
}

func TestAnEmptyKubeconfigIsNotTakenForTheOneOfThePod(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := readHubAccess(path)
	require.Error(t, err)
}
