package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile bounds one file, in bytes.
const maxFile = 64 << 20

// Source is one rules file in memory.
type Source struct {
	Name string // as problems name it
	Text []byte
}

// Load reads rules files and folders of them (*.yaml, *.yml, *.json, in the order of their names, not those in folders
// below) and merges them. The File is nil if any of the Problems is an error; all problems are reported at once.
// It reads nothing else: no environment, no network.
func Load(paths ...string) (*File, Problems) {
	var sources []Source
	var problems Problems
	for _, p := range paths {
		found, err := readPath(p)
		if err != nil {
			problems = append(problems, Problem{Pos: Pos{File: p}, Message: "cannot be read: " + cause(err).Error()})
		}
		sources = append(sources, found...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return Parse(sources...)
}

// cause takes the path off a file error, as the message names it already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func readPath(p string) ([]Source, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		s, err := readFile(p)
		return []Source{s}, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, err
	}
	var sources []Source
	for _, e := range entries {
		ext := path.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			continue
		}
		full := filepath.Join(p, e.Name())
		if info, err := os.Stat(full); err != nil || info.IsDir() {
			if err != nil {
				return nil, err
			}
			continue
		}
		s, err := readFile(full)
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	if len(sources) == 0 {
		return nil, errors.New("no *.yaml, *.yml or *.json file in the folder")
	}
	return sources, nil
}

func readFile(p string) (Source, error) {
	f, err := os.Open(p)
	if err != nil {
		return Source{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("over %d MiB", maxFile>>20)
	}
	return Source{Name: p, Text: text}, err
}

// Parse reads rules files from memory and merges them, as [Load] does.
func Parse(sources ...Source) (*File, Problems) {
	b := newBuilder()
	whole := true // every file could be read, so that all names are known
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.Name
		w := &walker{file: s.Name, lines: lines(string(s.Text)), forms: map[string]*regexp.Regexp{}}
		if root := w.document(s.Text); root != nil {
			b.file(w, root)
		} else {
			whole = false
		}
		b.problems = append(b.problems, w.problems...)
	}
	if len(sources) == 0 {
		b.problems = append(b.problems, Problem{Message: "no rules file is given"})
	}
	if whole {
		b.references()
	}
	if len(b.problems.Errors()) == 0 {
		b.finish(names)
	}
	problems := b.problems.sorted(names)
	problems.quote(sources)
	if len(problems.Errors()) > 0 {
		return nil, problems
	}
	return &b.out, problems
}

// document parses the one YAML document of a file; nil if it has none that can be walked.
func (w *walker) document(text []byte) (root *yaml.Node) {
	defer func() {
		// The YAML library answers some hostile inputs with a panic; to the author of the file that is a syntax error.
		if r := recover(); r != nil {
			root = nil
			w.problems = append(w.problems, w.problem(Error, Pos{File: w.file, Line: 1, Column: 1}, fmt.Sprintf("not YAML: %v", r), ""))
		}
	}()
	if root := jsonNodes(text); root != nil {
		return root
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		w.problems = append(w.problems, w.problem(Error, Pos{File: w.file, Line: 1, Column: 1}, "the file is empty", ""))
		return nil
	case err != nil:
		w.syntax(err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		w.syntax(err)
		return nil
	default:
		w.error(&second, "a second document begins here; a rules file holds one", "put it into a file of its own: several files are merged")
		return nil
	}
	return doc.Content[0]
}

var yamlPlace = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?:did not find|found|could not|.*)`)

// syntax turns the YAML library's error into a problem with its line.
func (w *walker) syntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := Pos{File: w.file, Line: 1, Column: 1}
	if m := yamlPlace.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		at.Line, _ = strconv.Atoi(m[1])
		_, message, _ = strings.Cut(message, ": ")
	}
	if at.Line > 0 && at.Line <= len(w.lines) {
		line := w.lines[at.Line-1]
		at.Column = len([]rune(line)) - len([]rune(strings.TrimLeft(line, " \t"))) + 1
	}
	hint := ""
	switch {
	case strings.Contains(message, "cannot start any token") && strings.Contains(w.line(at.Line), "\t"):
		hint = "indent with spaces, not tabs"
	case strings.Contains(message, "found unknown escape character"):
		hint = `in double quotes YAML has \\, \", \n, \t, \xNN and \uNNNN; of JSON's it lacks \/`
	case strings.Contains(message, "invalid Unicode character escape"):
		hint = `YAML has no pairs of \u escapes: write the character itself, or \U and eight digits`
	}
	w.problems = append(w.problems, w.problem(Error, at, "not YAML: "+message, hint))
}

func (w *walker) line(n int) string {
	if n < 1 || n > len(w.lines) {
		return ""
	}
	return w.lines[n-1]
}
