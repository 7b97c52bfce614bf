package config

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// maxSecret bounds a file with a password, in bytes.
const maxSecret = 64 << 10

// secret returns what a file or a variable of the environment holds, without the end of
// the line; "" if neither is named.
func secret(fileField, file, envField, env string) (Secret, *Error) {
	var s string
	switch {
	case file != "" && env != "":
		return "", fail(fileField, file, "say either a file or a variable")
	case file != "":
		b, err := read(file, maxSecret)
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return "", fail(fileField, file, "%v", err)
		}
		s = strings.TrimRight(string(b), "\r\n")
		if s == "" {
			return "", fail(fileField, file, "the file is empty")
		}
	case env != "":
		var ok bool
		if s, ok = os.LookupEnv(env); !ok || s == "" {
			return "", fail(envField, env, "there is no such variable in the environment")
		}
	}
	return Secret(s), nil
}
