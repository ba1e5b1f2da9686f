package podrunner

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeServer is where the API server reaches the node, as it would a kubelet.
type NodeServer struct {
	// Address is an IP address and a port.
	Address string
	// CertFile and KeyFile are the server's; ClientCAFile signed the API server's client certificate.
	CertFile, KeyFile, ClientCAFile string
}

// Register creates the node, or points an existing one at the server.
func (r *Runner) Register(ctx context.Context, port int32) error {
	nodes := r.client.CoreV1().Nodes()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:   NodeName,
		Labels: map[string]string{"kubernetes.io/hostname": NodeName, "kubernetes.io/os": "linux"},
	}}
	if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create node: %w", err)
	}
	// Admission marks every new node as not ready; the controller that would lift it watches kubelets.
	untaint := []byte(`{"spec":{"taints":null}}`)
	if _, err := nodes.Patch(ctx, NodeName, types.MergePatchType, untaint, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("mark node as ready: %w", err)
	}
	status, err := json.Marshal(map[string]any{"status": nodeStatus(port)})
	if err != nil {
		return err
	}
	if _, err := nodes.Patch(ctx, NodeName, types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("write node's status: %w", err)
	}
	return nil
}

func nodeStatus(port int32) corev1.NodeStatus {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("16"),
		corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods:   resource.MustParse("1000"),
	}
	now := metav1.Now()
	return corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now,
			Reason: "Simulated", Message: "simulated node: nothing in its pods is executed",
		}},
		NodeInfo: corev1.NodeSystemInfo{KubeletVersion: NodeName, ContainerRuntimeVersion: NodeName, OperatingSystem: "linux"},
	}
}

// Serve answers the API server until the context ends: it takes the signals with which Argo stops pods, and shows a line
// in place of logs.
func (r *Runner) Serve(ctx context.Context, at NodeServer) error {
	pem, err := os.ReadFile(at.ClientCAFile)
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate", at.ClientCAFile)
	}
	server := &http.Server{
		Addr: at.Address, Handler: r.handler(), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServeTLS(at.CertFile, at.KeyFile); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve node: %w", err)
	}
	return nil
}

func (r *Runner) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, req *http.Request) {
		signal := signalIn(req.URL.Query()["command"])
		if signal == 0 {
			http.Error(w, "simulated pod: nothing can be executed in it", http.StatusNotImplemented)
			return
		}
		if err := r.Signal(req.PathValue("namespace"), req.PathValue("pod"), signal); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		// Argo ignores the answer, and a true one would need a stream.
		http.Error(w, "simulated pod: the signal was delivered", http.StatusNotImplemented)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, req *http.Request) {
		_, _ = fmt.Fprintf(w, "simulated pod %s: nothing was executed\n", req.PathValue("pod"))
	})
	return mux
}

var killCommand = regexp.MustCompile(`\bkill\s+-?(\d+)\b`)

// signalIn returns the signal that a command sends, 0 if it sends none. Argo runs `argoexec kill 15 1` in a container,
// or a shell with `kill -15 1`.
func signalIn(command []string) int {
	match := killCommand.FindStringSubmatch(strings.Join(command, " "))
	if match == nil {
		return 0
	}
	signal, err := strconv.Atoi(match[1])
	if err != nil {
		return 0
	}
	return signal
}
