package lab

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const rbacGroup = "rbac.authorization.k8s.io"

func rbac(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: rbacGroup, Version: "v1", Kind: kind}
}

// rule lets its subjects do the verbs to one resource.
func rule(group, resource string, verbs ...string) map[string]any {
	list := make([]any, len(verbs))
	for i, verb := range verbs {
		list[i] = verb
	}
	return map[string]any{"apiGroups": []any{group}, "resources": []any{resource}, "verbs": list}
}
