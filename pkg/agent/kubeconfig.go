package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// kubeconfigInterval is how often the agent looks at the kubeconfig of the hub.
const kubeconfigInterval = 5 * time.Second

// errKubeconfigChanged ends the agent, so that its pod starts it again with the new kubeconfig.
var errKubeconfigChanged = errors.New("the kubeconfig of the hub has changed: the agent has to be started again")

// hubAccess runs something with the hub's kubeconfig.
type hubAccess struct {
	kubeconfig string
	// interval is the time between two looks at it.
	interval time.Duration
}

// run waits for a kubeconfig that is of use, and calls work with the access that it gives. It returns what work returns, nil if
// the context is done before there is a kubeconfig. When the kubeconfig changes, the context of work ends, and run returns
// errKubeconfigChanged. Certificates and tokens that the kubeconfig only refers to are read anew by client-go.
func (a hubAccess) run(ctx context.Context, work func(context.Context, *rest.Config) error) error {
	kubeconfig, config, err := a.await(ctx)
	if err != nil {
		return nil // the context is done
	}
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go a.watch(working, kubeconfig, stop)
	err = work(working, config)
	if errors.Is(context.Cause(working), errKubeconfigChanged) {
		return errKubeconfigChanged
	}
	return err
}

// await returns kubeconfig and access as soon as there are any. Its only error is that the context is done.
func (a hubAccess) await(ctx context.Context) (kubeconfig *clientcmdapi.Config, config *rest.Config, err error) {
	said := false
	err = wait.PollUntilContextCancel(ctx, a.interval, true, func(ctx context.Context) (bool, error) {
		var problem error
		kubeconfig, config, problem = loadKubeconfig(a.kubeconfig)
		if problem != nil && !said {
			log.FromContext(ctx).Info("waiting for the kubeconfig of the hub", "file", a.kubeconfig, "problem", problem.Error())
			said = true
		}
		return problem == nil, nil
	})
	return kubeconfig, config, err
}

// watch calls stop when the kubeconfig has changed since it was loaded.
func (a hubAccess) watch(ctx context.Context, loaded *clientcmdapi.Config, stop context.CancelCauseFunc) {
	err := wait.PollUntilContextCancel(ctx, a.interval, true, func(context.Context) (bool, error) { return a.isNew(loaded), nil })
	if err == nil {
		log.FromContext(ctx).Info("the kubeconfig of the hub has changed: stopping", "file", a.kubeconfig)
		stop(errKubeconfigChanged)
	}
}

// isNew reports whether there is another kubeconfig than the one that was loaded. Content that is of no use is none.
func (a hubAccess) isNew(loaded *clientcmdapi.Config) bool {
	now, _, err := loadKubeconfig(a.kubeconfig)
	return err == nil && !reflect.DeepEqual(now, loaded)
}

// loadKubeconfig returns the content of a kubeconfig, and the access that it gives. The access refers to the files that the
// kubeconfig refers to.
func loadKubeconfig(path string) (*clientcmdapi.Config, *rest.Config, error) {
	kubeconfig, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	if err := clientcmd.ResolveLocalPaths(kubeconfig); err != nil {
		return nil, nil, fmt.Errorf("resolve paths in kubeconfig: %w", err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, nil).ClientConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("use kubeconfig: %w", err)
	}
	return kubeconfig, config, nil
}
