package lint

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// inExpression finds what an expression has of other steps or of the pod.
var inExpression = regexp.MustCompile(`(^|[^\w.'"])(steps|tasks|pod)\s*(\.|\[)`)

// Variables returns a problem for each variable of a template whose step runs in another cluster that Argo refuses in a plugin template,
// and a warning for each one that it does not know: it stays as it is, and is seen again by the cluster's Argo. Metrics have variables of
// their own.
func Variables(t *manifest.Template) []manifest.Problem {
	var variables []manifest.Variable
	for i := 0; i+1 < len(t.Node.Content); i += 2 {
		if t.Node.Content[i].Value != "metrics" {
			variables = append(variables, t.Workflow.Document.Variables(t.Node.Content[i+1])...)
		}
	}
	var problems []manifest.Problem
	for _, v := range variables {
		message, warning := judge(t, v)
		if message == "" {
			continue
		}
		p := t.Problem(&yaml.Node{Line: v.Line, Column: v.Column}, "%s", message)
		p.Warning = warning
		problems = append(problems, p)
	}
	return problems
}

// judge returns what is wrong with a variable, "" if it will have its value.
func judge(t *manifest.Template, v manifest.Variable) (message string, warning bool) {
	if v.Expression {
		if found := inExpression.FindStringSubmatch(v.Name); found != nil {
			return "{{=" + v.Name + "}}: " + found[2] + " is not known in a step in another cluster: pass the value as an input parameter", false
		}
		return "", false
	}
	text := "{{" + v.Name + "}}"
	prefix, rest, _ := strings.Cut(v.Name, ".")
	switch prefix {
	case "steps", "tasks":
		if rest == "name" {
			return text + " stays as it is, and becomes the name of the step in the other cluster", true
		}
		return text + " is not known in a step in another cluster: pass it as an input parameter", false
	case "pod":
		return text + " is not known: the pod gets its name in the other cluster", false
	case "item":
		if rest == "" {
			return text + " stays as it is: pass it as an input parameter", true
		}
		return text + " is not known in a template: pass it as an input parameter", false
	case "inputs":
		return undeclared(t, text, rest)
	case "outputs":
		return outputPath(t, text, rest)
	case "retries", "lastRetry":
		if manifest.Set(t.Node, "retryStrategy") {
			return "", false
		}
		return text + " stays as it is: the template has no retryStrategy", true
	case "workflow", "node", "cronworkflow":
		return "", false
	}
	return text + " stays as it is: Argo does not know it", true
}

// undeclared judges a variable of the inputs.
func undeclared(t *manifest.Template, text, rest string) (message string, warning bool) {
	kind, name, _ := strings.Cut(rest, ".")
	if kind == "artifacts" {
		name = strings.TrimSuffix(name, ".path")
	}
	if name == "" || items(t.Node, "inputs", kind)[name] != nil {
		return "", false
	}
	return text + " is not declared in the inputs of the template", false
}

// outputPath judges a variable of the outputs: of those there are only paths.
func outputPath(t *manifest.Template, text, rest string) (message string, warning bool) {
	kind, name, _ := strings.Cut(rest, ".")
	name, isPath := strings.CutSuffix(name, ".path")
	output := items(t.Node, "outputs", kind)[name]
	if isPath && (manifest.Set(output, "path") || manifest.Set(output, "valueFrom", "path")) {
		return "", false
	}
	return text + " stays as it is: no output of the template has this path", true
}
