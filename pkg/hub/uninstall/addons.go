package uninstall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	addonv1alpha1 "open-cluster-management.io/api/addon/v1alpha1"
	addonv1beta1 "open-cluster-management.io/api/addon/v1beta1"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// frameworkFinalizers are those by which OCM's addon framework waits for a cluster's pre-delete hook.
var frameworkFinalizers = []string{
	addonv1beta1.AddonPreDeleteHookFinalizer,
	addonv1beta1.AddonHostingPreDeleteHookFinalizer,
	addonv1beta1.AddonHostingManifestFinalizer,
	addonv1alpha1.AddonDeprecatedPreDeleteHookFinalizer,
	addonv1alpha1.AddonDeprecatedHostingPreDeleteHookFinalizer,
	addonv1alpha1.AddonDeprecatedHostingManifestFinalizer,
}

// removeAddons disables the product's addons on all clusters and waits until they are gone from there, but not for ever for
// clusters that do not answer.
func (u *uninstaller) removeAddons(ctx context.Context) error {
	until := after(ctx, addonsShare)
	for _, name := range addonNames {
		if err := u.stopInstalling(ctx, name); err != nil {
			return err
		}
	}
	addons, err := u.addons(ctx)
	if err != nil {
		return err
	}
	for i := range addons {
		u.say("ManagedClusterAddOn %s: deleted", client.ObjectKeyFromObject(&addons[i]))
		if u.options.DryRun {
			continue
		}
		if err := u.client.Delete(ctx, &addons[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ManagedClusterAddOn %s: %w", client.ObjectKeyFromObject(&addons[i]), err)
		}
	}
	if len(addons) == 0 || u.options.DryRun {
		return nil
	}
	stop := u.runAddons(ctx)
	left, err := u.awaitAddons(ctx, until)
	stop()
	if err != nil || len(left) == 0 {
		return err
	}
	if left, err = u.addons(ctx); err != nil { // as the addon framework has left them
		return err
	}
	for i := range left {
		if err := u.releaseAddon(ctx, &left[i]); err != nil {
			return err
		}
	}
	return nil
}

// stopInstalling makes OCM no longer enable the addon by itself, where a Placement says so. Helm deletes the
// ClusterManagementAddOn with the rest of the chart.
func (u *uninstaller) stopInstalling(ctx context.Context, name string) error {
	addon := &addonv1beta1.ClusterManagementAddOn{}
	err := u.client.Get(ctx, client.ObjectKey{Name: name}, addon)
	if isNotServed(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get ClusterManagementAddOn: %w", err)
	}
	if addon.Spec.InstallStrategy.Type != addonv1beta1.AddonInstallStrategyPlacements {
		return nil
	}
	u.say("ClusterManagementAddOn %s: installed by Placement no more", name)
	if u.options.DryRun {
		return nil
	}
	manual := addon.DeepCopy()
	manual.Spec.InstallStrategy = addonv1beta1.InstallStrategy{Type: addonv1beta1.AddonInstallStrategyManual}
	if err := u.client.Patch(ctx, manual, client.MergeFrom(addon)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change ClusterManagementAddOn %s: %w", name, err)
	}
	return nil
}

// addons returns the product's addons on all clusters.
func (u *uninstaller) addons(ctx context.Context) ([]addonv1beta1.ManagedClusterAddOn, error) {
	var addons []addonv1beta1.ManagedClusterAddOn
	for _, name := range addonNames {
		if err := each(ctx, u.client, &addonv1beta1.ManagedClusterAddOnList{}, func(list *addonv1beta1.ManagedClusterAddOnList) {
			addons = append(addons, list.Items...)
		}, named(name)); err != nil {
			return nil, err
		}
	}
	return addons, nil
}

func named(name string) client.ListOption { return client.MatchingFields{"metadata.name": name} }

// runAddons plays the manager's part in the background, and returns what ends that.
func (u *uninstaller) runAddons(ctx context.Context) (stop func()) {
	if u.options.RunAddons == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := u.options.RunAddons(ctx); err != nil && !errors.Is(err, context.Canceled) {
			u.complain("the addons' pre-delete hooks cannot be run: %v", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// awaitAddons waits until the addons are gone, and the clusters have removed what was deployed for them. It returns the addons
// that are left when it has waited long enough.
func (u *uninstaller) awaitAddons(ctx context.Context, until time.Time) ([]addonv1beta1.ManagedClusterAddOn, error) {
	for {
		addons, err := u.addons(ctx)
		if err != nil {
			return nil, err
		}
		clusters, err := u.deployedTo(ctx)
		if err != nil {
			return nil, err
		}
		if len(addons) == 0 && len(clusters) == 0 {
			u.say("the addons are gone from all clusters")
			return nil, nil
		}
		if !time.Now().Before(until) {
			for _, cluster := range clusters {
				u.complain(
					"cluster %s has not removed in time what the addons have deployed there; OCM does so as soon as the cluster answers",
					cluster,
				)
			}
			return addons, nil
		}
		if err := u.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// deployedTo returns the clusters that have yet to remove something that was deployed for the addons.
func (u *uninstaller) deployedTo(ctx context.Context) ([]string, error) {
	ours, err := labels.NewRequirement(addonv1beta1.AddonLabelKey, selection.In, addonNames)
	if err != nil {
		return nil, fmt.Errorf("select ManifestWorks: %w", err)
	}
	var clusters []string
	err = each(ctx, u.client, &workv1.ManifestWorkList{}, func(list *workv1.ManifestWorkList) {
		for i := range list.Items {
			clusters = append(clusters, list.Items[i].Namespace)
		}
	}, client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*ours)})
	slices.Sort(clusters)
	return slices.Compact(clusters), err
}

// releaseAddon lets an addon go whose cluster has not run the pre-delete hook.
func (u *uninstaller) releaseAddon(ctx context.Context, addon *addonv1beta1.ManagedClusterAddOn) error {
	key := client.ObjectKeyFromObject(addon)
	released := addon.DeepCopy()
	released.Finalizers = slices.DeleteFunc(released.Finalizers, func(f string) bool { return slices.Contains(frameworkFinalizers, f) })
	if err := u.client.Patch(ctx, released, client.MergeFromWithOptions(addon, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(
		err,
	) != nil {
		return fmt.Errorf("release ManagedClusterAddOn %s: %w", key, err)
	}
	if len(released.Finalizers) > 0 {
		u.complain("ManagedClusterAddOn %s: kept by finalizers of others: %v", key, released.Finalizers)
	}
	if addon.Name == contract.AddonName {
		u.complain("cluster %s has not run the agent's pre-delete hook in time: its Workflows may keep the agent's finalizer. When it is back, "+
			"run there: argo-multicluster agent release --hub-id %s", addon.Namespace, u.options.HubID)
	} else {
		u.complain("cluster %s has not run the pre-delete hook of addon %s in time, and was not waited for any longer",
			addon.Namespace, addon.Name)
	}
	return nil
}
