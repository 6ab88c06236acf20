package airoute

// Compile makes rules and backends of what a cluster has.
func Compile(in *Input) *Result {
	return &Result{Config: &Config{}}
}
