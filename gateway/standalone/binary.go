package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// minMajor and minMinor are the oldest Envoy that has everything we configure.
const minMajor, minMinor = 1, 40

// FindEnvoy returns the path of the Envoy binary: the given one, else
// $FAIRWAY_ENVOY, else bin/envoy beside the executable or in the working
// directory, else envoy in $PATH.
func FindEnvoy(given string) (string, error) {
	if given != "" {
		if err := executable(given); err != nil {
			return "", fmt.Errorf("--envoy: %w", err)
		}
		return given, nil
	}
	if env := os.Getenv("FAIRWAY_ENVOY"); env != "" {
		if err := executable(env); err != nil {
			return "", fmt.Errorf("$FAIRWAY_ENVOY: %w", err)
		}
		return env, nil
	}
	var tries []string
	if self, err := os.Executable(); err == nil {
		tries = append(tries, filepath.Join(filepath.Dir(self), "envoy"))
	}
	tries = append(tries, filepath.Join("bin", "envoy"))
	for _, path := range tries {
		if executable(path) == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	return "", errors.New("envoy not found: run `make envoy` to fetch it, or name a binary with --envoy PATH")
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not an executable file", path)
	}
	return nil
}

var versionPattern = regexp.MustCompile(`/(\d+)\.(\d+)\.(\d+)(-dev)?/`)

// checkVersion refuses an Envoy that is too old to accept our configuration.
func checkVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s --version did not print a version: is it Envoy?", path)
	}
	major, _ := strconv.Atoi(string(m[1])) // digits, by the pattern
	minor, _ := strconv.Atoi(string(m[2]))
	version := fmt.Sprintf("%s.%s.%s", m[1], m[2], m[3])
	if major < minMajor || major == minMajor && minor < minMinor {
		return "", fmt.Errorf("%s is Envoy %s; Fairway needs %d.%d or newer: run `make envoy`, or name another with --envoy PATH",
			path, version, minMajor, minMinor)
	}
	return version, nil
}
