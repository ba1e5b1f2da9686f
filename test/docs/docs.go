// Package docs reads tables and commands of the documentation, for tests that compare them with what they describe, or run them, and writes
// generated parts.
package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

var (
	// code is what stands between backticks.
	code = regexp.MustCompile("`([^`]*)`")
	// commands is a block of shell commands, which may be indented, and the line before it.
	commands = regexp.MustCompile("(?m)^([^\\n]*)\\n([ ]*)```(?:sh|console)\\n((?s:.*?))\\n[ ]*```$")
	// mark says of a block of commands which name it has for the test that runs it, or why none does.
	mark = regexp.MustCompile(`^ *<!-- (run|not run): (.+) -->$`)
)

// Commands are a block of shell commands of a Markdown file.
type Commands struct {
	// Name is that of <!-- run: name --> in the line before the block, NotRun what stands in <!-- not run: why -->. Without either, both
	// are empty.
	Name, NotRun string
	// Script is the block, without its indentation.
	Script string
}

// AllCommands returns the blocks of shell commands of a Markdown file.
func AllCommands(file string) ([]Commands, error) {
	text, err := os.ReadFile(file)
	var found []Commands
	for _, block := range commands.FindAllStringSubmatch(string(text), -1) {
		c := Commands{Script: strings.TrimPrefix(strings.ReplaceAll("\n"+block[3]+"\n", "\n"+block[2], "\n"), "\n")}
		if marked := mark.FindStringSubmatch(block[1]); len(marked) > 0 {
			if marked[1] == "run" {
				c.Name = marked[2]
			} else {
				c.NotRun = marked[2]
			}
		}
		found = append(found, c)
	}
	return found, err
}

// Script returns the commands after <!-- run: name --> in a Markdown file, with each second of the replacements in place of the one before
// it; of those that fit at the same place, the first. It is an error if one does not occur.
func Script(file, name string, replacements ...string) (string, error) {
	all, err := AllCommands(file)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(all, func(c Commands) bool { return c.Name == name })
	if at < 0 {
		return "", fmt.Errorf("%s has no commands with the line <!-- run: %s --> before them", file, name)
	}
	for i := 0; i+1 < len(replacements); i += 2 {
		if !strings.Contains(all[at].Script, replacements[i]) {
			return "", fmt.Errorf("%s: the commands %q have no %q", file, name, replacements[i])
		}
	}
	return strings.NewReplacer(replacements...).Replace(all[at].Script), nil
}

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
