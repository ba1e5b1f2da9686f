package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/e2e/chaos/verdict"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

const placementName = "anywhere"

// users create and delete Workflows as the plan has it. They reach the API servers directly, unless those are away.
type users struct {
	t       *testing.T
	journal string
	hub     client.Client
	// managed are the clients of the managed clusters.
	managed map[string]client.Client

	mu       sync.Mutex
	subjects []verdict.Subject
}

// userPatience is how long a user tries. A name is free when OCM has removed what had it, and OCM has its troubles, too.
const userPatience = 5 * time.Minute

func newUsers(t *testing.T) (*users, error) {
	t.Helper()
	u := &users{t: t, journal: theLab.Journal(), managed: map[string]client.Client{}}
	var err error
	if u.hub, err = newClient(theLab.Hub()); err != nil {
		return nil, err
	}
	for _, c := range theLab.Managed() {
		if u.managed[c.Name], err = newClient(c); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func newClient(c *lab.Cluster) (client.Client, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	config.Timeout = 10 * time.Second
	scheme, err := hub.Scheme()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// prepare makes the namespace, opens all clusters to it, and lets the executor of real pods report.
func (u *users) prepare(ctx context.Context) error {
	clusters := map[string]client.Client{"hub": u.hub}
	for name, c := range u.managed {
		clusters[name] = c
	}
	for name, c := range clusters {
		objects := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}}
		if name == "hub" {
			objects = append(objects, gen.ManagedClusterSetBinding(gen.GlobalSet, gen.InNamespace(namespace)),
				gen.Placement(placementName, gen.InNamespace(namespace)))
		} else {
			objects = append(objects, gen.ExecutorRights(namespace)...)
		}
		for _, object := range objects {
			if err := c.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// work carries out the plan's part of the users, and returns when all is done. Of those that want the same name, the later one waits until
// the earlier one has had it, however long that takes.
func (u *users) work(ctx context.Context, workflows []workflow) {
	began := time.Now()
	var group sync.WaitGroup
	inUse := map[string]chan struct{}{}
	for _, wf := range workflows {
		earlier, done := inUse[wf.name], make(chan struct{})
		inUse[wf.name] = done
		group.Go(func() {
			defer close(done)
			if earlier != nil {
				<-earlier
			}
			if !sleep(ctx, wf.at-time.Since(began)) {
				return
			}
			subject := verdict.Subject{Run: wf.run, Want: wf.want(), Steps: wf.steps(), Words: words}
			if err := u.live(ctx, wf, &subject); err != nil {
				u.t.Errorf("%s: %v", wf.name, err)
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			u.subjects = append(u.subjects, subject)
		})
	}
	group.Wait()
}

// live creates a Workflow, and deletes it where and when the plan says so.
func (u *users) live(ctx context.Context, wf workflow, subject *verdict.Subject) error {
	created, err := u.create(ctx, wf)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if wf.does != "" {
		if err := u.do(ctx, wf, created, subject); err != nil {
			return fmt.Errorf("%s: %w", wf.does, err)
		}
	}
	if wf.deletedOnCluster > 0 {
		sleep(ctx, wf.deletedOnCluster)
		if subject.DeletedOnCluster, err = u.deleteOnCluster(ctx, created); err != nil {
			return fmt.Errorf("delete on the cluster: %w", err)
		}
	}
	if wf.deletedOnHub > 0 {
		sleep(ctx, wf.deletedOnHub-wf.deletedOnCluster)
		subject.DeletedOnHub = true
		uid := created.GetUID()
		return eventually(ctx, userPatience, func() error {
			err := u.hub.Delete(ctx, created, client.Preconditions{UID: &uid})
			if apierrors.IsConflict(err) {
				return nil // it has gone, and another one has its name
			}
			return client.IgnoreNotFound(err)
		})
	}
	return nil
}

// do does to a Workflow what the plan says. Each try is counted before it is made: the answer may be lost.
func (u *users) do(ctx context.Context, wf workflow, created *unstructured.Unstructured, subject *verdict.Subject) error {
	if wf.does == retries {
		subject.Retried = true
		return eventually(ctx, userPatience, func() error { return u.retry(ctx, created, subject) })
	}
	sleep(ctx, wf.when)
	patch := `{"spec":{"suspend":true}}`
	if wf.does == stops {
		patch, subject.Stopped = `{"spec":{"shutdown":"Stop"}}`, true
	}
	if err := u.patch(ctx, created, patch); err != nil || wf.does == stops {
		return err
	}
	sleep(ctx, 2*time.Second)
	return u.patch(ctx, created, `{"spec":{"suspend":null}}`)
}

func (u *users) patch(ctx context.Context, wf *unstructured.Unstructured, patch string) error {
	return eventually(ctx, userPatience, func() error {
		err := u.hub.Patch(ctx, wf.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)))
		return client.IgnoreNotFound(err) // it has expired
	})
}

// retry has argo retry a Workflow that has failed, until that is known to have happened.
func (u *users) retry(ctx context.Context, wf *unstructured.Unstructured, subject *verdict.Subject) error {
	current := contract.NewWorkflow()
	if err := u.hub.Get(ctx, client.ObjectKeyFromObject(wf), current); err != nil {
		return err
	}
	if !contract.IsFinished(contract.Phase(current)) {
		return errors.New("it has not failed yet")
	}
	subject.Retries++
	// Where the hub has an Argo controller, argo has to be told whose Workflows are meant.
	_, err := theLab.Hub().Tool(ctx, "argo", "retry", wf.GetName(), "--namespace", wf.GetNamespace(), "--instanceid", contract.InstanceIDHub)
	return err
}

// create creates a Workflow as soon as its name is free. One that is there is it, if an answer was lost.
func (u *users) create(ctx context.Context, wf workflow) (*unstructured.Unstructured, error) {
	var created *unstructured.Unstructured
	err := eventually(ctx, userPatience, func() error {
		created = wf.object(u.journal)
		err := u.hub.Create(ctx, created)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		if err := u.hub.Get(ctx, client.ObjectKeyFromObject(created), created); err != nil {
			return err
		}
		if verdict.RunOf(created) != wf.run {
			return errors.New("the name is still taken")
		}
		return nil
	})
	return created, err
}

// deleteOnCluster deletes the copy of a Workflow, if there is any, and reports whether it did.
func (u *users) deleteOnCluster(ctx context.Context, wf *unstructured.Unstructured) (deleted bool, err error) {
	run := verdict.RunOf(wf)
	err = eventually(ctx, userPatience, func() error {
		for _, c := range u.managed {
			remote := contract.NewWorkflow()
			err := c.Get(ctx, client.ObjectKeyFromObject(wf), remote)
			if apierrors.IsNotFound(err) || err == nil && verdict.RunOf(remote) != run {
				continue
			}
			if err != nil {
				return err
			}
			// Counted before it is done: the answer may be lost.
			deleted = true
			uid := remote.GetUID()
			err = c.Delete(ctx, remote, client.Preconditions{UID: &uid})
			if err := client.IgnoreNotFound(err); err != nil && !apierrors.IsConflict(err) {
				return err
			}
		}
		return nil
	})
	return deleted, err
}
