use super::Format;

#[test]
fn every_format_is_found_by_its_name_and_docs() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        assert!(!format.doc().is_empty());
    }
    assert_eq!("nginx".parse(), Ok(Format::Combined));
    assert_eq!("NGINX-JSON".parse(), Ok(Format::Json));
    let error = "ibs".parse::<Format>().unwrap_err().to_string();
    assert!(
        error.starts_with(
            "`ibs` is no log format (`iis`?); take auto, a template, or one of tidegate, otlp, "
        ),
        "{error}"
    );
}

#[test]
fn the_order_of_the_list_is_that_of_the_type() {
    assert!(Format::ALL.is_sorted());
}
