package airoute

// Secrets are entries by "namespace/name". They print as nothing.
type Secrets struct{ all map[string]map[string][]byte }

// Read returns the entries of a Secret, nil when there is none of that name.
func (s *Secrets) Read(namespace, name string) map[string][]byte {
	if s == nil {
		return nil
	}
	return s.all[namespace+"/"+name]
}

func (s *Secrets) add(namespace, name string, entries map[string][]byte) bool {
	if s.all == nil {
		s.all = map[string]map[string][]byte{}
	}
	key := namespace + "/" + name
	if _, dup := s.all[key]; dup {
		return false
	}
	s.all[key] = entries
	return true
}

// String returns a constant, whatever is in s.
func (*Secrets) String() string { return "[secrets]" }

// GoString returns what String does.
func (s *Secrets) GoString() string { return s.String() }
