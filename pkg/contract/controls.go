package contract

import (
	"encoding/json"

	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
)

// Fields of a Workflow's spec, by their names in JSON, that are Controls.
const (
	fieldSuspend  = "suspend"
	fieldShutdown = "shutdown"
	fieldPriority = "priority"
	fieldDeadline = "activeDeadlineSeconds"
)

// ControlFields are the fields of a Workflow's spec that are Controls.
var ControlFields = []string{fieldSuspend, fieldShutdown, fieldPriority, fieldDeadline}

// ControlsOf returns the fields of a Workflow's spec by which its user controls a run. A value that Argo could not read is none.
func ControlsOf(spec map[string]any) v1alpha1.Controls {
	var c v1alpha1.Controls
	c.Suspend, _ = spec[fieldSuspend].(bool)
	switch shutdown := spec[fieldShutdown]; shutdown {
	case string(v1alpha1.ShutdownStop), string(v1alpha1.ShutdownTerminate):
		c.Shutdown = v1alpha1.Shutdown(shutdown.(string))
	}
	if priority, ok := spec[fieldPriority].(int64); ok && priority == int64(int32(priority)) {
		c.Priority = ptr.To(int32(priority))
	}
	if deadline, ok := spec[fieldDeadline].(int64); ok {
		c.ActiveDeadlineSeconds = ptr.To(deadline)
	}
	return c
}

// EncodeControls returns c as text; equal ones have the same.
func EncodeControls(c v1alpha1.Controls) string {
	text, err := json.Marshal(c)
	if err != nil {
		return "" // there is nothing in it that JSON could not say
	}
	return string(text)
}

// DecodeControls returns what EncodeControls has made a text of, and whether the text is one of those.
func DecodeControls(text string) (v1alpha1.Controls, bool) {
	var c v1alpha1.Controls
	err := json.Unmarshal([]byte(text), &c)
	return c, err == nil
}

// ControlsPatch returns the merge patch of a Workflow's spec, of JSON values, that makes of one with the controls before one with those
// after; nil for no change. What somebody has changed meanwhile in another field stays.
func ControlsPatch(before, after v1alpha1.Controls) map[string]any {
	patch := map[string]any{}
	set := func(field string, isChanged, isSet bool, value any) {
		switch {
		case isChanged && isSet:
			patch[field] = value
		case isChanged:
			patch[field] = nil
		}
	}
	set(fieldSuspend, before.Suspend != after.Suspend, after.Suspend, true)
	set(fieldShutdown, before.Shutdown != after.Shutdown, after.Shutdown != "", string(after.Shutdown))
	set(fieldPriority, !ptr.Equal(before.Priority, after.Priority), after.Priority != nil, int64(ptr.Deref(after.Priority, 0)))
	set(fieldDeadline, !ptr.Equal(before.ActiveDeadlineSeconds, after.ActiveDeadlineSeconds), after.ActiveDeadlineSeconds != nil,
		ptr.Deref(after.ActiveDeadlineSeconds, 0))
	if len(patch) == 0 {
		return nil
	}
	return patch
}
