package agent

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestRemoveCRDsNamesTheFlagsToCorrect(t *testing.T) {
	valid := RemoveCRDsOptions{HubID: "hub", ArgoNamespace: "argo", Timeout: time.Minute}
	require.NoError(t, valid.Validate())
	for flag, change := range map[string]func(*RemoveCRDsOptions){
		"--hub-id":         func(o *RemoveCRDsOptions) { o.HubID = "" },
		"--argo-namespace": func(o *RemoveCRDsOptions) { o.ArgoNamespace = "" },
		"--timeout":        func(o *RemoveCRDsOptions) { o.Timeout = 0 },
	} {
		options := valid
		change(&options)
		require.ErrorContains(t, RemoveCRDs(t.Context(), &rest.Config{}, options, io.Discard), flag)
	}
}

func TestWhatInTheNamespaceIsUsers(t *testing.T) {
	tests := map[string]struct {
		object metav1.ObjectMeta
		want   bool
	}{
		"a user's":                    {metav1.ObjectMeta{Name: "minio"}, true},
		"the addon's":                 {metav1.ObjectMeta{Name: "x", Labels: map[string]string{contract.LabelInstalledBy: "hub"}}, false},
		"the certificates of it all":  {metav1.ObjectMeta{Name: "kube-root-ca.crt"}, false},
		"OCM's":                       {metav1.ObjectMeta{Name: "open-cluster-management-image-pull-credentials"}, false},
		"a ServiceAccount's token":    {metav1.ObjectMeta{Name: "x", Annotations: map[string]string{"kubernetes.io/service-account.name": "argo"}}, false},
		"of a user's Deployment":      {metav1.ObjectMeta{Name: "x", OwnerReferences: []metav1.OwnerReference{{Name: "y"}}}, true},
		"each namespace's":            {metav1.ObjectMeta{Name: "default"}, false},
		"OpenShift's":                 {metav1.ObjectMeta{Name: "system:deployers"}, false},
		"with labels of its own only": {metav1.ObjectMeta{Name: "x", Labels: map[string]string{"app": "x"}}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, isUsers(metav1.PartialObjectMetadata{ObjectMeta: test.object}))
		})
	}
}
