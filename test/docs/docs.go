// Package docs reads tables of the documentation, for tests that compare them with what they describe, and writes generated ones.
package docs

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// code is what stands between backticks.
var code = regexp.MustCompile("`([^`]*)`")

// Table returns the cells of the first table after a heading of a Markdown file, row by row, without the table's head.
func Table(file, heading string) ([][]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, section, found := strings.Cut(string(text), "# "+heading+"\n")
	if !found {
		return nil, fmt.Errorf("%s has no heading %q", file, heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	var rows [][]string
	for line := range strings.Lines(section) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		case len(rows) > 0:
			return rows[2:], nil
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s has no table after %q", file, heading)
	}
	return rows[2:], nil
}

// Block returns what stands between the markers of a generated part of a Markdown file.
func Block(file, name string) (string, error) {
	_, block, _, err := cut(file, name)
	return block, err
}

// SetBlock replaces what stands between the markers of a generated part of a Markdown file.
func SetBlock(file, name, block string) error {
	before, _, after, err := cut(file, name)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(before+block+after), 0o644)
}

// cut divides a Markdown file at the lines <!-- begin: name --> and <!-- end: name -->, which stay with what is around.
func cut(file, name string) (before, block, after string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", "", err
	}
	begin, end := "<!-- begin: "+name+" -->\n", "<!-- end: "+name+" -->\n"
	before, rest, began := strings.Cut(string(text), begin)
	block, after, ended := strings.Cut(rest, end)
	if !began || !ended {
		return "", "", "", fmt.Errorf("%s has no part between %q and %q", file, begin, end)
	}
	return before + begin, block, end + after, nil
}

// Rights returns what a table of rights allows, in the form of RightsOf. Its first column has the resources and, after the word
// "named", the names that they are limited to; its second has the verbs.
func Rights(file, heading string) ([]string, error) {
	rows, err := Table(file, heading)
	var rights []string
	for _, row := range rows {
		resources, names, _ := strings.Cut(row[0], " named ")
		for _, resource := range code.FindAllStringSubmatch(resources, -1) {
			var limit []string
			for _, name := range code.FindAllStringSubmatch(names, -1) {
				limit = append(limit, name[1])
			}
			rights = append(rights, right(resource[1], limit, row[1]))
		}
	}
	return rights, err
}

// RightsOf returns what rules allow, as "<resource>.<group> [<names>]: <verbs>".
func RightsOf(rules []rbacv1.PolicyRule) []string {
	var rights []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				if group != "" {
					resource += "." + group
				}
				rights = append(rights, right(resource, rule.ResourceNames, strings.Join(rule.Verbs, ", ")))
			}
		}
	}
	return rights
}

func right(resource string, names []string, verbs string) string {
	return fmt.Sprintf("%s %v: %s", resource, names, verbs)
}
