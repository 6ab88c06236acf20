package chat

// minBudget is the least budget Claude models take, in tokens.
const minBudget = 1024

// Plan settles the reasoning and the bound of the answer for Claude models. The bound
// includes the reasoning, so the default bound, which is used when the client gave
// none, grows with the budget. effortAsBudget is for models that know no effort.
func (r *Request) Plan(effortAsBudget bool, defaultBound int64) (Thinking, int64) {
	t, bound := r.Thinking, r.MaxTokens
	if t.Effort == "none" {
		t = Thinking{Mode: ThinkingOff}
	}
	if t.Mode == ThinkingDefault && t.Effort != "" {
		t.Mode = ThinkingAdaptive
	}
	switch {
	case !effortAsBudget:
		if t.Effort == "minimal" {
			t.Effort = "low"
		}
	case t.Mode == ThinkingAdaptive:
		t = Thinking{Mode: ThinkingBudget, Budget: BudgetOf(t.Effort), Display: t.Display}
		if bound > 0 && t.Budget >= bound {
			t.Budget = bound / 2
		}
		if t.Budget < minBudget {
			r.Drop(FieldEffort)
			t = Thinking{}
		}
	case t.Effort != "":
		r.Drop(FieldEffort)
		t.Effort = ""
	}
	if bound == 0 {
		bound = defaultBound
		if t.Mode == ThinkingBudget {
			bound += t.Budget
		}
	}
	return t, bound
}

// BudgetOf is what an effort means to models that know only budgets, in tokens.
func BudgetOf(effort string) int64 {
	switch effort {
	case "minimal":
		return 1024
	case "low":
		return 2048
	case "medium":
		return 8192
	case "xhigh", "max":
		return 32768
	}
	return 16384
}
