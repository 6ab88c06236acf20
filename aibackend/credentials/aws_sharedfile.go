package credentials

import "strings"

// sharedProfile is one section of a shared credentials file.
type sharedProfile struct{ id, secret, token, region string }

// parseSharedFile reads the keys of one profile from the text of a shared
// credentials file, or says what is wrong with it. It obeys nothing in the file:
// a profile that needs a program, another profile, a role or a host is refused.
func parseSharedFile(text, profile string) (p sharedProfile, wrong string) {
	profile = orDefault(profile, "default")
	inside, found := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok {
				return sharedProfile{}, "a section's name has no closing bracket"
			}
			name = strings.TrimSpace(name)
			if rest, ok := strings.CutPrefix(name, "profile "); ok {
				name = strings.TrimSpace(rest)
			}
			inside = name == profile
			found = found || inside
			continue
		}
		if !inside {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return sharedProfile{}, "a line of the profile is not of the form key = value"
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "aws_access_key_id":
			p.id = value
		case "aws_secret_access_key":
			p.secret = value
		case "aws_session_token":
			p.token = value
		case "region":
			p.region = value
		case "credential_process", "role_arn", "source_profile", "credential_source", "web_identity_token_file", "sso_session", "sso_start_url", "login_session", "endpoint_url":
			return sharedProfile{}, "the profile has " + strings.ToLower(strings.TrimSpace(key)) + ", which is not obeyed here; give access keys, and roles as aws.assumeRole or aws.webIdentity"
		}
	}
	switch {
	case !found:
		return sharedProfile{}, "it has no such profile"
	case p.id == "" || p.secret == "":
		return sharedProfile{}, "the profile lacks aws_access_key_id or aws_secret_access_key"
	case accessKeyText(p.id) != "":
		return sharedProfile{}, "its aws_access_key_id does not look like one"
	case keyText(p.secret) != "" || p.token != "" && keyText(p.token) != "":
		return sharedProfile{}, "its secret key or session token has a character that neither has"
	case p.region != "" && !regionText.MatchString(p.region):
		return sharedProfile{}, "its region is none"
	}
	return p, ""
}
