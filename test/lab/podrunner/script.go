package podrunner

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// The environment of a pod's containers, in which Argo tells its executor what to do.
const (
	envTemplate       = "ARGO_TEMPLATE"
	envScriptOutput   = "ARGO_INCLUDE_SCRIPT_OUTPUT"
	templateOffloaded = "offloaded"
)

// script is what a pod is to do.
type script struct {
	duration time.Duration
	// deadline ends the pod even if its duration is longer; 0 for none.
	deadline time.Duration
	// endless pods run until they are stopped: daemons, and Argo's own agent.
	endless  bool
	exitCode int32
}

// readScript reads what the pod's annotations and its template say.
func readScript(pod *corev1.Pod) (script, error) {
	s := script{duration: DefaultDuration}
	if value, found := pod.Annotations[AnnotationDuration]; found {
		duration, err := time.ParseDuration(value)
		if err != nil {
			return s, fmt.Errorf("simulated pod: annotation %s: %w", AnnotationDuration, err)
		}
		s.duration = duration
	}
	if value, found := pod.Annotations[AnnotationExitCode]; found {
		code, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
		if err != nil {
			return s, fmt.Errorf("simulated pod: annotation %s: %w", AnnotationExitCode, err)
		}
		s.exitCode = int32(code)
	}
	if seconds := pod.Spec.ActiveDeadlineSeconds; seconds != nil {
		s.deadline = time.Duration(*seconds) * time.Second
	}
	template, err := readTemplate(environment(pod, envTemplate))
	if err != nil {
		return s, err
	}
	s.endless = pod.Annotations[annotationNodeID] == "" || template.IsDaemon()
	if s.endless {
		s.duration = 1<<63 - 1
	}
	return s, nil
}

// readTemplate reads the template that Argo gave its executor; an empty one if it is not in the environment.
func readTemplate(text string) (*wfv1.Template, error) {
	template := &wfv1.Template{}
	if text == "" || text == templateOffloaded {
		return template, nil
	}
	if err := json.Unmarshal([]byte(text), template); err != nil {
		return nil, fmt.Errorf("simulated pod: template: %w", err)
	}
	return template, nil
}

// environment returns a variable of the first container that has it; Argo gives the template to init containers only.
func environment(pod *corev1.Pod, name string) string {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, container := range containers {
			for _, variable := range container.Env {
				if variable.Name == name {
					return variable.Value
				}
			}
		}
	}
	return ""
}

// outputs are what the pod's template promises, with values from the pod's annotations.
func outputs(pod *corev1.Pod, template *wfv1.Template) *wfv1.Outputs {
	result := &wfv1.Outputs{Artifacts: template.Outputs.Artifacts}
	for _, parameter := range template.Outputs.Parameters {
		if parameter.ValueFrom == nil || parameter.ValueFrom.Path == "" {
			continue // not the executor's to set
		}
		value := annotation(pod, AnnotationOutput+parameter.Name)
		parameter.Value = wfv1.AnyStringPtr(value)
		result.Parameters = append(result.Parameters, parameter)
	}
	if environment(pod, envScriptOutput) == "true" {
		value := annotation(pod, AnnotationResult)
		result.Result = &value
	}
	return result
}

func annotation(pod *corev1.Pod, key string) string {
	if value, found := pod.Annotations[key]; found {
		return value
	}
	return DefaultOutput
}
