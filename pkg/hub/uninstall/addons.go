package uninstall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// addonNames are the product's addons.
var addonNames = []string{contract.AddonName, contract.ArgoAddonName}

// notByPlacement is the patch of a ClusterManagementAddOn that keeps OCM from enabling it where a Placement says so.
var notByPlacement = client.RawPatch(types.MergePatchType, []byte(`{"spec":{"installStrategy":{"type":"Manual","placements":null}}}`))

// removeAddons disables the product's addons on all clusters and waits until they are gone from there, but not for ever for
// clusters that do not answer.
func (u *uninstaller) removeAddons(ctx context.Context) error {
	for _, name := range addonNames {
		addon := &addonv1beta1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := u.client.Patch(ctx, addon, notByPlacement); err != nil && !isNotServed(err) {
			return fmt.Errorf("change ClusterManagementAddOn %s: %w", name, err)
		}
	}
	addons, err := u.addons(ctx)
	if err != nil {
		return err
	}
	for _, addon := range addons {
		u.say("ManagedClusterAddOn %s/%s: deleted", addon.Namespace, addon.Name)
		if err := u.client.Delete(ctx, addon); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete an addon: %w", err)
		}
	}
	if len(addons) == 0 || u.options.DryRun {
		return nil
	}
	stop := u.runAddons(ctx)
	err = u.poll(ctx, u.addonsShare, func(ctx context.Context) (bool, error) {
		addons, err := u.addons(ctx)
		works, failed := u.deployed(ctx)
		return len(addons)+len(works) == 0, errors.Join(err, failed)
	})
	stop()
	switch {
	case err == nil:
		u.say("the addons are gone from all clusters")
		return nil
	case ctx.Err() != nil:
		return err
	}
	return u.removeHookFinalizers(ctx)
}

// addons returns the metadata of the product's addons on all clusters.
func (u *uninstaller) addons(ctx context.Context) ([]*metav1.PartialObjectMetadata, error) {
	all, err := u.metadata(ctx, addonv1beta1.GroupVersion.String(), "ManagedClusterAddOn")
	return slices.DeleteFunc(all, func(addon *metav1.PartialObjectMetadata) bool { return !slices.Contains(addonNames, addon.Name) }), err
}

// deployed returns the metadata of the addons' ManifestWorks: their clusters have yet to remove something.
func (u *uninstaller) deployed(ctx context.Context) ([]*metav1.PartialObjectMetadata, error) {
	all, err := u.works(ctx, client.HasLabels{addonv1beta1.AddonLabelKey})
	return slices.DeleteFunc(all, func(work *metav1.PartialObjectMetadata) bool {
		return !slices.Contains(addonNames, work.Labels[addonv1beta1.AddonLabelKey])
	}), err
}

// runAddons plays the manager's part in the background, and returns what ends that.
func (u *uninstaller) runAddons(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	if u.options.RunAddons != nil {
		running.Go(func() {
			if err := u.options.RunAddons(ctx); err != nil && !errors.Is(err, context.Canceled) {
				u.complain("the addons' pre-delete hooks cannot be run: %v", err)
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// removeHookFinalizers removes those by which OCM keeps addons whose clusters have not run the pre-delete hook.
func (u *uninstaller) removeHookFinalizers(ctx context.Context) error {
	works, err := u.deployed(ctx)
	if err != nil {
		return err
	}
	for _, work := range works {
		u.complain("cluster %s has not removed in time what the addons have deployed there; OCM does so when it is back", work.Namespace)
	}
	addons, err := u.addons(ctx)
	for _, addon := range addons {
		u.complain("cluster %s has not run the pre-delete hook of addon %s in time", addon.Namespace, addon.Name)
		isOCMs := func(finalizer string) bool { return strings.Contains(finalizer, "open-cluster-management.io/") }
		if err := u.removeFinalizers(ctx, "ManagedClusterAddOn", addon, isOCMs); err != nil {
			return err
		}
		if addon.Name == contract.AddonName {
			u.complain(finalizersMayBeLeft, addon.Namespace, u.options.HubID)
		}
	}
	return err
}
