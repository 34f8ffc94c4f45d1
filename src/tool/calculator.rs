//! Arithmetic, by meval, behind a front that reads what people and models write.

use super::{Tool, ToolError};
use crate::chat::InputForm;

/// Works out one arithmetic expression.
pub struct Calculator;

impl Tool for Calculator {
    fn name(&self) -> &str {
        "Calculator"
    }

    fn usage(&self) -> &str {
        "works out one arithmetic expression"
    }

    fn form(&self) -> InputForm {
        InputForm::Arithmetic
    }

    fn call(&self, input: &str) -> Result<String, ToolError> {
        let value = meval::eval_str(input).map_err(|error| ToolError(error.to_string()))?;
        Ok(value.to_string())
    }
}
