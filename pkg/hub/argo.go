package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/scheduler"
)

const (
	// argoLease is the Lease of an Argo controller that takes every Workflow without an instance id. One with an id has it in the name.
	argoLease = "workflow-controller"
	// argoLeaseAge is after how long without renewal no controller holds the Lease: Argo renews it every few seconds.
	argoLeaseAge = time.Minute
)

// hubArgo finds Argo controllers on a hub whose installation says that there is none.
type hubArgo struct {
	live     client.Reader
	recorder events.EventRecorder
	clock    clock.PassiveClock
	// found is what find has returned last.
	found string
}

// find returns where Argo controllers run that would take Workflows for the managed clusters, as their Leases "<namespace>/<name>", "" if
// there is none. What is new it records as an Event on our ClusterManagementAddOn.
func (a *hubArgo) find(ctx context.Context) (string, error) {
	leases := &coordinationv1.LeaseList{}
	// Of the many Leases of a hub the API server reads all to find these: from its memory, not from etcd.
	opts := []client.ListOption{
		client.MatchingFields{"metadata.name": argoLease}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}},
	}
	if err := a.live.List(ctx, leases, opts...); err != nil {
		return "", fmt.Errorf("look for an Argo controller on the hub: %w", err)
	}
	var held []string
	for _, lease := range leases.Items {
		if renewed := lease.Spec.RenewTime; renewed != nil && a.clock.Since(renewed.Time) < argoLeaseAge {
			held = append(held, lease.Namespace+"/"+lease.Name)
		}
	}
	slices.Sort(held)
	found := strings.Join(held, ", ")
	if found != a.found && found != "" {
		a.warn(ctx, scheduler.ArgoOnHubMessage(found))
	}
	a.found = found
	return found, nil
}

func (a *hubArgo) warn(ctx context.Context, message string) {
	log.FromContext(ctx).Info("warning: " + message)
	addons := &addonv1beta1.ClusterManagementAddOnList{}
	if err := a.live.List(ctx, addons, client.MatchingFields{"metadata.name": contract.AddonName}); err != nil {
		log.FromContext(ctx).Error(err, "cannot record an Event on the ClusterManagementAddOn")
		return
	}
	for i := range addons.Items {
		a.recorder.Eventf(&addons.Items[i], nil, corev1.EventTypeWarning, scheduler.ReasonArgoOnHub, "Schedule", "%s", message)
	}
}
