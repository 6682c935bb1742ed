// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// command is one run of Main.
type command struct {
	t     *testing.T
	stdin string
	env   map[string]string
}

func (c command) run(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, err bytes.Buffer
	code = Main(args, strings.NewReader(c.stdin), &out, &err, func(name string) (string, bool) {
		v, ok := c.env[name]
		return v, ok
	})
	return code, out.String(), err.String()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongUsageExitsWith2AndSaysWhereHelpIs(t *testing.T) {
	f := func(wantErr string, args ...string) {
		t.Helper()
		code, out, err := command{t: t}.run(args...)
		if code != 2 || out != "" || !strings.Contains(err, wantErr) || !strings.Contains(err, "--help' for usage") {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want 2 and %q", args, code, out, err, wantErr)
		}
	}
	f("unknown command \"rum\" for \"umbra\"\n\nDid you mean this?\n\trun\n", "rum")
	f(`unknown command "x" for "umbra mirrors"`, "mirrors", "x")
	f(`unknown flag: --nope`, "run", "--nope")
	f(`unknown command "x" for "umbra version"`, "version", "x")
	f(`nothing to read: name a folder or a file with -f`, "run")
	f(`nothing to read`, "check")
	f(`unexpected argument "dir": a path is given with -f`, "check", "dir")
	f(`unexpected argument "dir": a path is given with -f`, "run", "dir")
	f(`invalid argument "gcp" for "--profile"`, "run", "-f", "x", "--profile", "gcp")
	f(`"80" is not PORT=PORT`, "run", "-f", "x", "--port", "80")
	f(`port 80 is given twice`, "run", "-f", "x", "--port", "80=1", "--port", "80=2")
	f(`label "a" is not KEY=VALUE`, "run", "-f", "x", "--labels", "a")
	f(`"127.0.0.1:0" has no port`, "run", "-f", "x", "--outbound", "127.0.0.1:0")
	f(`--mirror-max-hops 0 is not between 1 and 9`, "run", "-f", "x", "--mirror-max-hops", "0")
	f(`--mirror-max-hops 10 is not between 1 and 9`, "run", "-f", "x", "--mirror-max-hops", "10")
	f(`--mirror-timeout 0s is not positive`, "run", "-f", "x", "--mirror-timeout", "0s")
	f(`--mirror-max-in-flight -1 is not positive`, "run", "-f", "x", "--mirror-max-in-flight", "-1")
	f(`--workers -1 is not between 0 and 1024`, "run", "-f", "x", "--workers", "-1")
	f(`--workers 1025 is not between 0 and 1024`, "run", "-f", "x", "--workers", "1025")
	f(`"localhost" is not an IP address`, "run", "-f", "x", "--bind", "localhost")
	f(`"15001" is not IP:PORT or :PORT`, "run", "-f", "x", "--outbound", "15001")
	f(`"0" is not between 1 and 1024Ti`, "run", "-f", "x", "--max-head", "0")
	f(`--namespace "Shop_1" is not a name of a namespace`, "check", "-f", "x", "--namespace", "Shop_1")
	f(`--root-namespace "a b" is not a name of a namespace`, "run", "-f", "x", "--root-namespace", "a b")
	f(`--drain-timeout 0s is not positive`, "run", "-f", "x", "--drain-timeout", "0s")
	f(`--max-connections -1 is negative`, "run", "-f", "x", "--max-connections", "-1")
	f(`--max-listener-connections -1 is negative`, "run", "-f", "x", "--max-listener-connections", "-1")
	f(`--max-head 9Mi is more than 8Mi`, "run", "-f", "x", "--max-head", "9Mi")
	f(`--max-head-fields 0 is not between 1 and 65536`, "run", "-f", "x", "--max-head-fields", "0")
	f(`--head-timeout 0s is not positive`, "run", "-f", "x", "--head-timeout", "0s")
	f(`--stream-idle-timeout 0s is not positive`, "run", "-f", "x", "--stream-idle-timeout", "0s")
	f(`--idle-timeout -1s is negative`, "run", "-f", "x", "--idle-timeout", "-1s")
	f(`--access-log-copies needs --access-log`, "run", "-f", "x", "--access-log-copies")
	f(`"48MB" is no number of bytes`, "run", "-f", "x", "--mirror-memory", "48MB")
}

func TestRunExitsWith1IfItsFirstConfigurationIsBad(t *testing.T) {
	path := file(t, "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {sever: []}\n")
	code, out, err := command{t: t}.run("run", "-f", path, "--admin", "")
	if code != 1 || out != "" || !strings.Contains(err, path+":4: error: Gateway default/g: spec.sever: unknown field") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, err)
	}
	code, _, err = command{t: t}.run("run", "-f", path+".not", "--admin", "")
	if code != 1 || !strings.Contains(err, "in.yaml.not") {
		t.Errorf("missing file: exit %d, stderr %q", code, err)
	}
}

func TestCheckReadsStandardInput(t *testing.T) {
	c := command{t: t, stdin: "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"}
	if code, out, err := c.run("check", "-f", "-"); code != 0 || out != "no problems\n" || err != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, err)
	}
}

func TestHelpTextsAreSentencesWithAnExample(t *testing.T) {
	sentence := func(where, s string) {
		if s == "" || !unicode.IsUpper([]rune(s)[0]) || !strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q does not begin with a capital and end with a full stop", where, s)
		}
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		sentence(c.CommandPath(), c.Short)
		if c.Example == "" && c.Name() != "help" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { sentence(c.CommandPath()+" --"+f.Name, f.Usage) })
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(nil))
	for _, args := range [][]string{{}, {"--help"}, {"help"}, {"run", "--help"}, {"help", "mirrors"}} {
		if code, out, err := (command{t: t}).run(args...); code != 0 || !strings.Contains(out, "Usage:") || err != "" {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, out, err)
		}
	}
}

func TestVersionNamesWhatTheBuildKnows(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if code, out, _ := (command{t: t}).run(arg); code != 0 || out != buildVersion()+"\n" {
			t.Errorf("%s: exit %d, stdout %q", arg, code, out)
		}
	}
	got := version(&debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"},
		},
	})
	if want := "umbra v1.2.3 (commit 0123456789ab with changes, go"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q...", got, want)
	}
	if got, want := version(&debug.BuildInfo{}), "umbra development version (go"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q...", got, want)
	}
}

func TestSummaryCountsAndSaysNothingOfWhatIsNot(t *testing.T) {
	f := func(errors, warnings, notes int, want string) {
		t.Helper()
		if got := summary(errors, warnings, notes, false); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(0, 0, 0, "no problems")
	f(0, 0, 1, "no problems, 1 note (--notes shows it)")
	f(1, 2, 3, "1 error, 2 warnings, 3 notes (--notes shows them)")
	f(0, 1, 0, "1 warning")
}

func TestCheckShowsNotesWhenAskedAndLast(t *testing.T) {
	c := command{t: t, stdin: `apiVersion: v1
kind: Service
metadata: {name: unasked}
spec: {ports: [{port: 80}]}
---
apiVersion: example.com/v1
kind: Own
metadata: {name: x}
`}
	const warning = "-:6: warning: Own default/x: kind: "
	code, out, _ := c.run("check", "-f", "-")
	if lines := strings.Split(out, "\n"); code != 0 || len(lines) != 3 || !strings.HasPrefix(lines[0], warning) ||
		lines[1] != "1 warning, 1 note (--notes shows it)" {
		t.Errorf("exit %d, stdout %q", code, out)
	}
	_, out, _ = c.run("check", "-f", "-", "--notes")
	if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], warning) ||
		!strings.HasPrefix(lines[1], "-:4: note: Service default/unasked: ") || lines[2] != "1 warning, 1 note" {
		t.Errorf("stdout %q", out)
	}
}

func TestCheckTellsProblemsInTheOrderOfTheirLines(t *testing.T) {
	_, out, _ := command{t: t, stdin: `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {sever: []}
---
apiVersion: v1
kind: Service
---
apiVersion: example.com/v1
kind: Own
metadata: {name: x}
`}.run("check", "-f", "-")
	var at []string
	for _, m := range regexp.MustCompile(`(?m)^-:([0-9]+): `).FindAllStringSubmatch(out, -1) {
		at = append(at, m[1])
	}
	if got := strings.Join(at, " "); got != "4 4 6 9" {
		t.Errorf("lines %s in\n%s", got, out)
	}
}
